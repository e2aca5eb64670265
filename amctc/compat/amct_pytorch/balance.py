"""Balanced channels in two steps: the weights before they are quantized, the data when the model is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from amctc.diagnostics import error
from amctc.dialects.multiplying import insert_multiplier
from amctc.dialects.scaling import data_channels, scale_channels
from amctc.ir import Balance, Graph, Node, Use
from amctc.pipeline.balancing import FACTORS
from amctc.pipeline.context import Context
from amctc.policy import ResolvedPolicy
from amctc.records.check_record import layer_problems
from amctc.records.scale_record import ScaleRecord


def wanted_balances(policy: ResolvedPolicy) -> tuple[str, ...]:
    """The layers that are to be balanced."""
    return tuple(
        name
        for name, config in policy.layers.items()
        if config.quant_enable.value and config.migration_strength is not None
    )


def multiply_weights(graph: Graph, record: ScaleRecord, layers: Sequence[str], context: Context) -> None:
    """Multiply the weights of layers by the factors that a record has for their input channels.

    Raises `DiagnosticError`: AM954 for a layer that has none, AM279 and AM280 for factors that do not fit.
    """
    missing = [name for name in layers if name not in record.by_name or not record.by_name[name].balance]
    if missing:
        raise no_factors(missing, record.file)
    for name in layers:
        node, entry = graph.node(name), record.by_name[name]
        found = [each for each in layer_problems(entry, node) if each.code in ("AM279", "AM280")]
        context.collector.extend(found)
        if not found and node.quant is not None:
            scale_channels(node, np.array(entry.balance, np.float64), None)
            node.quant = node.quant.with_balance(Balance(entry.balance))
            node.record("balance-channels", f"input channels times the {FACTORS} of the record")
    context.collector.raise_errors()


def divide_data(node: Node, factors: Sequence[float]) -> Node:
    """Put a layer in front of a node that divides its data by factors, as AMCT's models have it."""
    found = data_channels(node)
    if isinstance(found, str):
        raise ValueError(found)
    constant = f"{node.name}.{FACTORS}"
    reciprocals = np.float32(1) / np.array(factors, np.float32)
    return insert_multiplier(Use(node, 0), f"{node.name}.mul", constant, reciprocals, found[0])


def multipliers(graph: Graph) -> Mapping[str, torch.Tensor]:
    """What the data of balanced layers are multiplied by, by layer; of the rank of the data."""
    found: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        balance = node.quant.balance if node.quant is not None else None
        channels = data_channels(node) if balance is not None else ""
        shape = node.inputs[0].shape if balance is not None else None
        if balance is None or isinstance(channels, str) or shape is None:
            continue
        along = [-1 if axis == channels[0] else 1 for axis in range(len(shape))]
        found[node.name] = torch.from_numpy(np.float32(1) / np.array(balance.factors, np.float32)).reshape(along)
    return found


def no_factors(layers: Sequence[str], file: str | None) -> Exception:
    more = f", nor for {len(layers) - 1} other layers" if len(layers) > 1 else ""
    help = (
        "the config says `dmq_balancer` for it: call `quantize_preprocess` with this record, and the module that it "
        "gives on one batch, before `quantize_model`"
    )
    message = f"the record has no `{FACTORS}` for layer `{layers[0]}`{more}"
    return error("AM954", message, file=file, help=help)
