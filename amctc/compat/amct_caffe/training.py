"""Quantization-aware training: its config is written and its inputs are checked; training itself is not built yet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from amctc.compat.amct_caffe import arguments, log
from amctc.compat.amct_caffe.errors import told_as_amct
from amctc.compat.amct_caffe.output import save
from amctc.compat.amct_caffe.stages import SAVE_TYPES
from amctc.compat.amct_caffe.training_config import check_training_names, trainable_layers, training_config
from amctc.diagnostics import Collector, DiagnosticError, error
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.policy.flavours import CAFFE_QAT
from amctc.policy.rules_qat import TrainingRule

_HELP: Final = (
    "quantize after training: `create_quant_config`, `init`, `weights_quantize_model`, `activation_quantize_model`, "
    "`save_model`"
)


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
    rule = _rule(defined) if defined is not None else TrainingRule()
    text = training_config(graph, rule, collector)
    collector.raise_errors()
    log.tell("create_quant_retrain_config", collector.warnings)
    save({Path(config): text.encode()})
    log.info("create_quant_retrain_config", f"the config is saved in {config}; training itself is not built yet")


@told_as_amct
def create_quant_retrain_model(
    model_file: str,
    weights_file: str,
    config_file: str,
    modified_model_file: str,
    modified_weights_file: str,
    scale_offset_record_file: str,
) -> None:
    """Check the model and the config, and then raise NotImplementedError: the model to train is not built yet.

    No file is written.
    """
    config = arguments.path("config_file", config_file)
    for name, value in (
        ("modified_model_file", modified_model_file),
        ("modified_weights_file", modified_weights_file),
        ("scale_offset_record_file", scale_offset_record_file),
    ):
        arguments.path(name, value)
    collector = Collector()
    graph = _model(model_file, weights_file, collector)
    check_training_names(_rule(config), trainable_layers(graph), collector)
    collector.raise_errors()
    raise _not_built("create_quant_retrain_model", "the model and its config are right")


@told_as_amct
def save_quant_retrain_model(
    retrained_model_file: str,
    retrained_weights_file: str,
    save_type: str,
    save_path: str,
    scale_offset_record_file: str | None = None,
    config_file: str | None = None,
) -> None:
    """Check the arguments and read the model, and then raise NotImplementedError: there is nothing that trained it.

    No file is written.
    """
    arguments.word("save_type", save_type, SAVE_TYPES)
    arguments.prefix("save_path", save_path)
    arguments.optional_path("scale_offset_record_file", scale_offset_record_file)
    config = arguments.optional_path("config_file", config_file)
    collector = Collector()
    _model(retrained_model_file, retrained_weights_file, collector)
    if config is not None:
        _rule(config)
    raise _not_built("save_quant_retrain_model", "the model can be read")


def _model(model: object, weights: object, collector: Collector) -> Graph:
    return load_model(arguments.path("model_file", model), arguments.path("weights_file", weights), collector)


def _rule(file: str) -> TrainingRule:
    rule = Policy.from_file(file, CAFFE_QAT.name).training
    return rule if rule is not None else TrainingRule()


def _not_built(function: str, fine: str) -> DiagnosticError:
    message = f"`{function}` needs quantization-aware training, which is not built in this version"
    return error("AM634", message, notes=(fine,), help=_HELP)
