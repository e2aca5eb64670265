"""quantize-weights: float weights to integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import inner_products, weight_from_rows, weight_rows
from amctc.ir import Graph, Node, WeightQuant
from amctc.pipeline.context import Context
from amctc.pipeline.folding import negated_channels
from amctc.pipeline.pass_ import Pass
from amctc.quant.arq import checked_weights, quantize_with, weight_params
from amctc.quant.channel_factors import symmetric_scale
from amctc.quant.snq import quantize_weights_snq
from amctc.quant.snq_tables import quantize_with_tables

_GRID_BITS = 8
"""The levels of clustered weights lie on a grid of so many bits."""


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Quantize the weights of every annotated layer with the algorithm its annotation names (ARQ or SNQ).

    The weight arrays (one for each inner product of the layer) become int8 and the scales go into the
    annotation, for SNQ with the table of the 16 levels that go with each scale. Where it has scales and tables
    already (of a record), those are taken. Until Quantize nodes are inserted such a layer computes with the weights
    q*scale, so calibration sees the weights that the deployed model will have. Weights that are integers already
    stay as they are. A channel that a negative factor of a layer behind is to be folded into gets a scale that
    leaves -128 out, which could not change its sign.
    """

    name: ClassVar[str] = "quantize-weights"
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("insert-quant",)
    before: ClassVar[tuple[str, ...]] = ("observe", "calibrate")
    repeatable: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        changed = False
        for node in graph.nodes:
            if node.quant is None or node.quant.weight is None:
                continue
            try:
                done = _quantize(node, node.quant.weight, context)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            if done:
                node.record(self.name, _words(node.quant.weight), node.quant.rule)
            changed |= done
        return changed


def _quantize(node: Node, weight: WeightQuant, context: Context) -> bool:
    """Quantize every weight array that is still float; whether there was one."""
    arrays = {product.weight: node.weights[product.weight] for product in inner_products(node)}
    floats = {role: array for role, array in arrays.items() if array.dtype.kind == "f"}
    for role, array in floats.items():
        rows = checked_weights(weight_rows(node, array).astype(np.float32, copy=False), node.name)
        scale, table = weight.scales.get(role), weight.tables.get(role)
        if scale is None:
            scale = _scale(rows, weight, negated_channels(node, context), node.name)
        values, table = _integers(rows, weight, scale, table, node.name)
        node.weights[role] = weight_from_rows(node, values)
        if node.quant is not None:
            node.quant = node.quant.with_weight_scale(role, scale, table)
    return bool(floats)


def _scale(
    rows: NDArray[np.float32], weight: WeightQuant, negated: NDArray[np.bool_] | None, name: str
) -> NDArray[np.float32]:
    """ARQ's scale, but -127 to 127 for what is to be negated: of -128 there is no opposite."""
    axis = 0 if weight.channel_wise else None
    usual = weight_params(rows, axis=axis, bits=_GRID_BITS if weight.clustering else weight.bits, layer_name=name)
    if negated is None:
        return usual.scale.reshape(-1)
    groups = rows if weight.channel_wise else rows.reshape(1, -1)
    chosen = negated if weight.channel_wise else negated.any(keepdims=True)
    return np.where(chosen, symmetric_scale(groups.reshape(len(groups), -1)), usual.scale.reshape(-1))


def _integers(
    rows: NDArray[np.float32],
    weight: WeightQuant,
    scale: NDArray[np.float32],
    table: NDArray[np.int8] | None,
    name: str,
) -> tuple[NDArray[np.int8], NDArray[np.int8] | None]:
    """Integers [Cout, everything else], and a table for each scale where the weights are clustered."""
    if table is not None:
        return quantize_with_tables(rows, scale, table), table
    if weight.clustering is None:
        return quantize_with(rows, scale, bits=weight.bits, layer_name=name), None
    axis = 0 if weight.channel_wise else None
    found = quantize_weights_snq(rows, axis=axis, settings=weight.clustering, layer_name=name, scale=scale)
    return found.values, found.table


def _words(weight: WeightQuant) -> str:
    each = " for each output channel" if weight.channel_wise else ""
    if weight.tables:
        return f"{weight.bits} bits, one scale and 16 levels{each}, as they are given"
    if weight.clustering is None:
        return f"{weight.bits} bits, one scale{each}"
    return f"{weight.bits} bits, one scale and 16 levels{each}, init_algo {weight.clustering.init_algo}"
