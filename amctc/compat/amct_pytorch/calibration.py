"""The calibration model: quantize_model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from amctc.compat import arguments
from amctc.compat.amct_pytorch.balance import divide_data, multipliers, multiply_weights, wanted_balances
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.compat.amct_pytorch.modified_model import modified_model
from amctc.compat.amct_pytorch.network import Network
from amctc.compat.amct_pytorch.plan import Plan, Rewriting
from amctc.compat.amct_pytorch.record_file import CalibrationRecord
from amctc.diagnostics import Collector
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.modules.calibration import ModuleCalibration, Observation
from amctc.modules.watching import watch
from amctc.modules.weights import take_weights
from amctc.output import write_files
from amctc.pipeline.context import Context
from amctc.policy import Policy, ResolvedPolicy, not_yet_available
from amctc.policy.availability import require_post_training
from amctc.policy.flavours import PYTORCH
from amctc.quant.activation import settings_from_plain
from amctc.quant.ifmr import IfmrResult
from amctc.quant.observer import UNBOUNDED
from amctc.records.read_record import read_record
from amctc.records.scale_record import ScaleRecord


@told_as_amct
def quantize_model(
    config_file: str,
    modfied_onnx_file: str,
    record_file: str,
    model: nn.Module,
    input_data: Any,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
) -> nn.Module:
    """A copy of a module that calibrates as it runs: BatchNorm layers folded, weights on their grids, data float.

    The record gets the scales of the weights now, and those of the data with the last of the config's `batch_num`
    batches; later ones are not looked at. `modfied_onnx_file` is written for `save_model`. The module itself is left
    as it was. Several such modules can be calibrated side by side.
    """
    config = arguments.path("config_file", config_file)
    modified = Path(arguments.path("modfied_onnx_file", modfied_onnx_file))
    path = Path(arguments.path("record_file", record_file)).absolute()
    network = Network.of(model, input_data, input_names, output_names, dynamic_axes)
    resolved = read_config(config, network)
    plan, balanced = Plan.of(resolved), wanted_balances(resolved)
    record = read_record(path) if balanced else ScaleRecord(())
    rewriting = Rewriting(lambda: begin(network, resolved))
    rewriting.run(plan.fold)
    rewriting.change(lambda graph, context: multiply_weights(graph, record, balanced, context))
    rewriting.run(plan.weights)
    graph = rewriting.graph
    layers = {name: module for name, module in network.layers.items() if name in graph and _is_quantized(graph, name)}
    content = modified_model(graph, layers)
    rewriting.change(_divide)
    rewriting.run(plan.observe)
    made = CalibrationRecord.of(graph, path, _order(record, layers, network.module))
    observations = [_observation(node) for node in graph.nodes if node.op == "quant.Observe"]

    def done(found: Mapping[str, IfmrResult]) -> None:
        made.write(found)
        log.info("quantize_model", f"the factors of {len(found)} layers are saved in {path}")

    calibration = ModuleCalibration(observations, resolved.batch_num, done)
    rewritten = copy.deepcopy(network.module).eval()
    take_weights(rewritten, graph, network.layers)
    watch(rewritten, layers, calibration, multipliers=multipliers(graph), around=told_as_amct)
    write_files({modified: content})
    made.write()
    log.info("quantize_model", f"the modified model is saved in {modified}; calibrate on {resolved.batch_num} batches")
    return rewritten


def read_config(file: str, network: Network) -> ResolvedPolicy:
    """What a config gives the layers of a network. Raises `DiagnosticError` for all that is wrong with it."""
    policy = Policy.from_file(file, usual=PYTORCH)
    require_post_training(policy)
    resolved = network.resolve(policy)
    collector = Collector()
    collector.extend(resolved.warnings)
    collector.extend(not_yet_available(resolved))
    collector.raise_errors()
    log.tell("quantize_model", collector.warnings)
    return resolved


def begin(network: Network, resolved: ResolvedPolicy) -> tuple[Graph, Context]:
    """The float graph, and what its passes are to look at."""
    return network.graph(), Context(network.for_passes(resolved))


def _divide(graph: Graph, context: Context) -> None:
    for node in graph.nodes:
        if node.quant is not None and node.quant.balance is not None:
            divide_data(node, node.quant.balance.factors)


def _is_quantized(graph: Graph, name: str) -> bool:
    return graph.node(name).quant is not None


def _order(record: ScaleRecord, layers: Mapping[str, str], module: nn.Module) -> tuple[str, ...]:
    """The layers as AMCT has them in the record: those that it has already, then the others as the module has them."""
    there = [layer.name for layer in record.layers if layer.name in layers]
    places = {name: place for place, (name, _) in enumerate(module.named_modules())}
    return tuple(dict.fromkeys((*there, *sorted(layers, key=lambda name: places[layers[name]]))))


def _observation(node: Node) -> Observation:
    layers, settings = node.attrs["layers"], settings_from_plain(node.attrs["settings"])
    names = tuple(str(name) for name in layers) if isinstance(layers, tuple) else ()
    source = node.inputs[0].producer
    within = op_def(source).clamps(source) or UNBOUNDED
    return Observation(names, settings, str(node.attrs["observer"]), within)
