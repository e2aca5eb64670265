"""Quantization-aware training: its config, the model to be trained, and the quantized files of the trained one.

In between the model is trained, by `amctc train` or one of the solvers of `amctc.compat.caffe`.
"""

from __future__ import annotations

from pathlib import Path

from amctc.compat import arguments
from amctc.compat.amct_caffe.errors import told_as_amct
from amctc.compat.amct_caffe.log import log
from amctc.compat.amct_caffe.output import save
from amctc.compat.amct_caffe.stages import SAVE_TYPES, save_models
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import Collector
from amctc.dialects.retrain import WEIGHT_PARAMETER
from amctc.driver.passes import RETRAIN, build_pipeline
from amctc.driver.quantize import float_model
from amctc.driver.retrain_model import retrain_files
from amctc.driver.retrained_files import retrained_files
from amctc.driver.retraining_policy import resolved_training, training_policy
from amctc.frontends import load_model
from amctc.frontends.caffe.net import read_net_file
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.plugins import load_plugins
from amctc.policy import Policy
from amctc.policy.flavours import CAFFE_QAT
from amctc.policy.resolve_training import trainable_layers
from amctc.policy.rules_qat import TrainingRule
from amctc.policy.write_training_json import training_json


@told_as_amct
def create_quant_retrain_config(
    config_file: str, model_file: str, weights_file: str, config_defination: str | None = None
) -> None:
    """Write the JSON config of every layer that can be trained with quantization.

    `config_defination` is a .cfg file of training; without one every layer has the defaults.
    """
    config = arguments.path("config_file", config_file)
    defined = arguments.optional_path("config_defination", config_defination)
    collector = Collector()
    graph = _model(model_file, weights_file, collector)
    policy = training_policy(defined) if defined is not None else Policy(training=TrainingRule(), flavour=CAFFE_QAT)
    training = resolved_training(policy, graph, defined, collector)
    text = training_json(policy, training, trainable_layers(graph))
    log.tell("create_quant_retrain_config", collector.warnings)
    save({Path(config): text.encode()})
    log.info("create_quant_retrain_config", f"the config is saved in {config}")


@told_as_amct
def create_quant_retrain_model(
    model_file: str,
    weights_file: str,
    config_file: str,
    modified_model_file: str,
    modified_weights_file: str,
    scale_offset_record_file: str,
) -> None:
    """Write the model that is to be trained, and empty the record.

    It is the user's model, with the layers of both phases, a RetrainDataQuant layer before each layer of the config
    (one for all that read a value alike), and weights that are quantized by ARQ in every forward pass. Its weights
    file has the clips too, where the config says them. Raises RuntimeError for a config that leaves no layer.
    """
    config = arguments.path("config_file", config_file)
    modified = Path(arguments.path("modified_model_file", modified_model_file))
    modified_weights = Path(arguments.path("modified_weights_file", modified_weights_file))
    record = Path(arguments.path("scale_offset_record_file", scale_offset_record_file)).absolute()
    collector = Collector()
    graph = _model(model_file, weights_file, collector)
    training = resolved_training(training_policy(config), graph, config, collector)
    build_pipeline(RETRAIN).run(graph, Context(collector=collector, training=training))
    files = retrain_files(read_net_file(model_file, Collector()), read_weights(weights_file), graph, str(record))
    log.tell("create_quant_retrain_model", collector.warnings)
    save({modified: files.prototxt.encode(), modified_weights: files.caffemodel, record: b""})
    layers_told, quantizers = sum(WEIGHT_PARAMETER in node.attrs for node in graph.nodes), len(files.quantizers)
    text = f"{layers_told} layers with quantized weights, {quantizers} quantizers of data, saved in {modified}"
    log.info("create_quant_retrain_model", f"{text} and {modified_weights}")


@told_as_amct
def save_quant_retrain_model(
    retrained_model_file: str,
    retrained_weights_file: str,
    save_type: str,
    save_path: str,
    scale_offset_record_file: str | None = None,
    config_file: str | None = None,
) -> None:
    """Write the quantized models of a trained one, as `save_model` does.

    The clips are those of the trained weights, and so are the scales of the weights; a record wins over both where it
    has the factors of a layer, and the log tells which layers it has others for. Raises RuntimeError for clips that
    were never set, and for a model that `create_quant_retrain_model` has not made.

    With the deploy model comes one that a converter takes as it is, `…atc_model.prototxt`, for the same weights: data
    layers are Input layers in it. Losses and scores are in none of the models.
    """
    kind = arguments.word("save_type", save_type, SAVE_TYPES)
    prefix = arguments.prefix("save_path", save_path)
    record = arguments.optional_path("scale_offset_record_file", scale_offset_record_file)
    config = arguments.optional_path("config_file", config_file)
    model = arguments.path("retrained_model_file", retrained_model_file)
    weights = arguments.path("retrained_weights_file", retrained_weights_file)
    load_plugins(())
    collector = Collector()
    made = retrained_files(
        lambda told: load_model(model, weights, told),
        prefix,
        collector,
        model=model,
        record=record,
        config=config,
        instruments=(LoggedPasses(log.logger),),
    )
    unshaped = () if made.unshaped is None or kind == "Fakequant" else (made.unshaped,)
    log.tell("save_quant_retrain_model", (*dict.fromkeys(collector.warnings), *unshaped))
    save_models(made.files, prefix, kind)


def _model(model: object, weights: object, collector: Collector) -> Graph:
    load_plugins(())
    return float_model(arguments.path("model_file", model), arguments.path("weights_file", weights), collector, {})
