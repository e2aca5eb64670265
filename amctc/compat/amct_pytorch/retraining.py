"""Quantization-aware training: its config, the model to be trained, and the quantized models of the trained one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from amctc.compat import arguments
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.compat.amct_pytorch.network import Network
from amctc.compat.amct_pytorch.pth_file import read_state, take_state
from amctc.compat.amct_pytorch.saving import write_models
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import Collector, error
from amctc.dialects.table import op_def
from amctc.driver.conversion import converted_graph
from amctc.modules.retrain_model import retrain_layers, with_retrain_layers, without_retrain_layers
from amctc.modules.retrain_plan import PlannedLayer, retrain_plan, trainable_modules
from amctc.modules.retrain_record import RecordWriter, retrain_record
from amctc.output import write_files
from amctc.policy import Policy
from amctc.policy.flavours import PYTORCH_QAT
from amctc.policy.resolve_training import ResolvedTraining, resolve_training
from amctc.policy.rules_qat import TrainingRule
from amctc.policy.write_training_json import training_json
from amctc.records.pytorch_record import pytorch_record_text
from amctc.records.scale_record import LayerRecord, ScaleRecord


@dataclass(frozen=True)
class _Planned:
    """What a config means for a model: the layers that are trained, and how long their clips are looked for."""

    layers: tuple[PlannedLayer, ...]
    batch_num: int


@told_as_amct
def create_quant_retrain_config(
    config_file: str, model: nn.Module, input_data: Any, config_defination: str | None = None
) -> None:
    """Write the JSON config of every module that can be trained with quantization.

    `config_defination` is a .cfg file of training; without one every layer has the defaults. The model is exported
    with `input_data`, a tensor or a tuple of what `forward` takes, and left as it was.
    """
    config = arguments.path("config_file", config_file)
    defined = arguments.optional_path("config_defination", config_defination)
    policy = _policy(defined)
    network = Network.of(model, input_data)
    collector = Collector()
    layers = trainable_modules(network.module, network.exported.graph, network.quantizable)
    training = resolve_training(policy, network.exported.graph, collector, layers)
    _check(training, defined, collector)
    log.tell("create_quant_retrain_config", collector.warnings)
    write_files({Path(config): training_json(policy, training, layers).rstrip("\n").encode()})
    log.info("create_quant_retrain_config", f"the config of {len(training.layers)} layers is saved in {config}")


@told_as_amct
def create_quant_retrain_model(config_file: str, model: nn.Module, record_file: str, input_data: Any) -> nn.Module:
    """A copy of a model whose layers are quantized in every pass as the config says, to be trained as any module is.

    The clips that the config does not say are set by IFMR with the first `batch_num` batches. The first evaluation,
    and the first behind further training, writes `record_file`. Raises `DiagnosticError`: what reading the config
    does, AM480 for a model that torch cannot export, AM635 for layers that it does not have.
    """
    config = arguments.path("config_file", config_file)
    record = Path(arguments.path("record_file", record_file)).absolute()
    planned = _plan(config, Network.of(model, input_data))
    made = with_retrain_layers(model, planned.layers, planned.batch_num)
    write_files({record: b""})
    made.register_forward_hook(RecordWriter(record))
    log.info("create_quant_retrain_model", f"{len(planned.layers)} layers are trained with quantization")
    return made


@told_as_amct
def restore_quant_retrain_model(
    config_file: str,
    model: nn.Module,
    record_file: str,
    input_data: Any,
    pth_file: str,
    state_dict_name: str | None = None,
) -> nn.Module:
    """The model of `create_quant_retrain_model` with the state of a file that `torch.save` wrote of one like it.

    `model` is the user's, as it was before. The file holds a state dict, or a dict that has it under
    `state_dict_name`; it is read with `weights_only=True`. A file of AMCT's own is taken too. Raises
    `DiagnosticError`: AM960 for a file that cannot be read, AM961 for one without a state dict there, AM962 for a
    state dict of another model.
    """
    file = arguments.path("pth_file", pth_file)
    state = read_state(file, state_dict_name)
    made = create_quant_retrain_model(config_file, model, record_file, input_data)
    take_state(made, state, file)
    return made


@told_as_amct
def save_quant_retrain_model(
    config_file: str,
    model: nn.Module,
    record_file: str,
    save_path: str,
    input_data: Any,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
) -> None:
    """Write the deploy and the fake-quant ONNX model of a trained model, and the record of its factors.

    The factors are those of the model's weights and clips as they are now; the model is left as it is. Raises
    `DiagnosticError`: AM963 for a model that has no quantized layers, or others than the config says, AM964 for one
    whose clips are not set.
    """
    config = arguments.path("config_file", config_file)
    record = Path(arguments.path("record_file", record_file))
    prefix = arguments.prefix("save_path", save_path)
    there = list(retrain_layers(model))
    plain = without_retrain_layers(model)
    network = Network.of(plain, input_data, input_names, output_names, dynamic_axes)
    planned = _plan(config, network)
    _check_layers(there, [layer.name for layer in planned.layers], config)
    trained = retrain_record(model)
    if trained.unset:
        raise _never_set(trained.unset, planned.batch_num)
    entries = tuple(trained.entries.values())
    record_of_all = ScaleRecord((*entries, *_apart(network, planned)))
    told = Collector()
    made = converted_graph(lambda _: network.graph(), record_of_all, told, instruments=(LoggedPasses(log.logger),))
    log.tell("save_quant_retrain_model", told.warnings)
    write_models(made, prefix, {record: pytorch_record_text(entries).encode()})


def _policy(config_defination: str | None) -> Policy:
    if config_defination is None:
        return Policy(training=TrainingRule(), flavour=PYTORCH_QAT)
    return Policy.from_file(config_defination, flavour=PYTORCH_QAT.name)


def _plan(config: str, network: Network) -> _Planned:
    collector = Collector()
    graph, policy = network.exported.graph, Policy.from_file(config, flavour=PYTORCH_QAT.name)
    layers = trainable_modules(network.module, graph, network.quantizable)
    training = resolve_training(policy, graph, collector, layers)
    _check(training, config, collector)
    return _Planned(retrain_plan(network.module, graph, network.layers, training), training.batch_num)


def _apart(network: Network, planned: _Planned) -> tuple[LayerRecord, ...]:
    """What is not folded: all but the BatchNorm layers that the trained factors reckon with."""
    folded = {layer.batch_norm for layer in planned.layers}
    others = (node.name for node in network.exported.graph.nodes if op_def(node).affine is not None)
    return tuple(LayerRecord(name, skip_fusion=True) for name in others if name not in folded)


def _check(training: ResolvedTraining, file: str | None, collector: Collector) -> None:
    collector.raise_errors()
    if not training.layers:
        help = "set `retrain_enable` to true for at least one layer"
        raise error("AM638", "the config leaves no layer to be trained with quantization", file=file, help=help)


def _check_layers(there: Sequence[str], wanted: Sequence[str], config_file: str) -> None:
    if not there:
        help = "give the model that `create_quant_retrain_model` or `restore_quant_retrain_model` returned"
        raise error("AM963", "this model has no layers that training quantizes", help=help)
    differing = sorted({*there} ^ {*wanted})
    if differing:
        has = "quantizes" if differing[0] in there else "does not quantize"
        message = f"the config is not that of this model, which {has} the layer `{differing[0]}`"
        raise error("AM963", message, file=config_file, help="give the config that the model was created with")


def _never_set(names: Sequence[str], batch_num: int) -> Exception:
    more = f", nor are those of {len(names) - 1} other layers" if len(names) > 1 else ""
    help = f"run the model on at least {batch_num} batches, the `batch_num` of its config, before it is saved"
    return error("AM964", f"the clips of layer `{names[0]}` are not set{more}", help=help)
