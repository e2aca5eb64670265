"""Quantization-aware training: its config, the model to be trained, and the quantized files of the trained one.

In between the model is trained, by `amctc train` or one of the solvers of `amctc.compat.caffe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amctc.compat import arguments
from amctc.compat.amct_caffe.errors import told_as_amct
from amctc.compat.amct_caffe.log import log
from amctc.compat.amct_caffe.output import save
from amctc.compat.amct_caffe.stages import SAVE_TYPES, save_models
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, error
from amctc.dialects.retrain import WEIGHT_PARAMETER
from amctc.driver.conversion import converted_graph
from amctc.driver.emit import emit_files, find_targets
from amctc.driver.passes import RETRAIN, build_pipeline
from amctc.driver.quantize import float_model
from amctc.driver.ready_to_convert import ENDING, ready_to_convert
from amctc.driver.retrain import differing, lacks, plain_model, trained_factors, trained_layers, with_missing
from amctc.driver.retrain_model import retrain_files
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.output import output_paths
from amctc.pipeline.context import Context
from amctc.plugins import load_plugins
from amctc.policy import Policy
from amctc.policy.flavours import CAFFE_QAT
from amctc.policy.resolve_training import ResolvedTraining, resolve_training, trainable_layers
from amctc.policy.rules_qat import TrainingRule
from amctc.policy.write_training_json import training_json
from amctc.records.read_record import read_record
from amctc.records.scale_record import LayerRecord, ScaleRecord

_MOST_NAMED = 3


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
    policy = _policy(defined) if defined is not None else Policy(training=TrainingRule(), flavour=CAFFE_QAT)
    training = _training(policy, graph, defined, collector)
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
    training = _training(_policy(config), graph, config, collector)
    build_pipeline(RETRAIN).run(graph, Context(collector=collector, training=training))
    files = retrain_files(model_file, weights_file, graph, str(record))
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
    graph = load_model(model, weights, collector)
    if not trained_layers(graph):
        help = "give the model that `create_quant_retrain_model` wrote, after its training"
        raise error("AM639", "this model has no layers that training quantizes", file=model, help=help)
    if config is not None:
        resolve_training(_policy(config), plain_model(graph), collector)
        collector.raise_errors()
    factors = _factors(graph, record, model, collector)

    def load(told: Collector) -> Graph:
        return plain_model(load_model(model, weights, told))

    collector_of_passes = Collector()
    made = converted_graph(load, factors, collector_of_passes, instruments=(LoggedPasses(log.logger),))
    told = dict.fromkeys((*collector.warnings, *collector_of_passes.warnings))
    log.tell("save_quant_retrain_model", tuple(told))
    files = emit_files(find_targets("caffe"), made.graph, prefix, made.emission)
    text, unknown = ready_to_convert(made.graph)
    if not unknown:
        files |= output_paths(prefix, {ENDING: text.encode()})
    elif kind != "Fakequant":
        log.tell("save_quant_retrain_model", (_no_shape(unknown, model),))
    save_models(files, prefix, kind)


def _factors(graph: Graph, record: str | None, model: str, collector: Collector) -> ScaleRecord:
    """The record that the model is quantized with."""
    found = trained_factors(graph)
    given = read_record(record, collector) if record is not None else ScaleRecord(())
    said = dict(given.by_name)
    lacking = [name for name in found.unset if name not in said or _is_incomplete(said[name], graph.node(name))]
    if lacking:
        raise _never_set(lacking, model)
    others = list(differing(found, said))
    if others:
        names = ", ".join(f"`{name}`" for name in others[:_MOST_NAMED]) + ("…" if len(others) > _MOST_NAMED else "")
        text = f"the record has other factors than the clips and weights of the model for {names}; those of the record"
        help = "run the model once more in phase TEST, or leave the record out"
        collector.add(Diagnostic("AM640", f"{text} are taken", Level.WARNING, file=record, help=help))
    joined = said | {entry.name: with_missing(said.get(entry.name), entry) for entry in found.entries}
    return ScaleRecord(tuple(joined.values()), given.source)


def _no_shape(names: Sequence[str], model: str) -> Diagnostic:
    message = f"`{ENDING}` is not written: the shape of what `{names[0]}` reads is not known"
    help = "give the layer a `crop_size` and channels, or replace it in the deploy model by an Input layer"
    return Diagnostic("AM641", message, Level.WARNING, file=model, help=help)


def _is_incomplete(entry: LayerRecord, node: Node) -> bool:
    return lacks(entry, node) or (WEIGHT_PARAMETER in node.attrs and not entry.scale_w)


def _never_set(names: Sequence[str], model: str) -> DiagnosticError:
    more = f", nor are those of {len(names) - 1} other layers" if len(names) > 1 else ""
    help = (
        "train the model, or write the clips: `net.params[quantizer][0].data[...] = clip_max`, `[1]` is clip_min; "
        "then `net.save(weights)`, and give that file here"
    )
    notes = ("a range of data is set by training, by `clip_max` and `clip_min` of the config, or by hand",)
    message = f"the clips of layer `{names[0]}` are not set{more}"
    return error("AM637", message, file=model, notes=notes, help=help)


def _model(model: object, weights: object, collector: Collector) -> Graph:
    load_plugins(())
    return float_model(arguments.path("model_file", model), arguments.path("weights_file", weights), collector, {})


def _policy(file: str) -> Policy:
    """The policy of training in a file: of the manual's flavour, or of the one that says types in place of bits."""
    policy = Policy.from_file(file, usual=CAFFE_QAT)
    return policy if policy.training is not None else Policy.from_file(file, CAFFE_QAT.name)


def _training(policy: Policy, graph: Graph, file: str | None, collector: Collector) -> ResolvedTraining:
    """What the layers get; mistakes are raised, and a policy that leaves no layer is one (AM638)."""
    training = resolve_training(policy, graph, collector)
    collector.raise_errors()
    if not training.layers:
        help = "set `retrain_enable` to true for at least one layer"
        raise error("AM638", "the config leaves no layer to be trained with quantization", file=file, help=help)
    return training
