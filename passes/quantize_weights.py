"""quantize-weights: float weights to integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from amctc.quant.snq_settings import SnqSettings
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
        words: dict[Node, str] = {}
        clustered: dict[SnqSettings, list[_Floats]] = {}
        for node in graph.nodes:
            weight = node.quant.weight if node.quant is not None else None
            if weight is None:
                continue
            try:
                found = list(_floats(node, weight, context))
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            for floats in found:
                words[node] = _words(weight)
                table = weight.tables.get(floats.role)
                if table is None and weight.clustering is not None:
                    clustered.setdefault(weight.clustering, []).append(floats)
                else:
                    floats.become(_integers(floats, weight, table), table)
        for settings, layers in clustered.items():
            for each, table in zip(layers, _tables(layers, settings), strict=True):
                each.become(quantize_with_tables(each.rows, each.scale, table), table)
        for node, what in words.items():
            node.record(self.name, what, node.quant.rule if node.quant is not None else None)
        return bool(words)


@dataclass(frozen=True, eq=False)
class _Floats:
    """Float weights `[Cout, everything else]` of a layer in one role, and the scales of the grid that is theirs."""

    node: Node
    role: str
    rows: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def groups(self) -> NDArray[np.float32]:
        """A row for each scale."""
        return self.rows.reshape(len(self.scale), -1)

    def become(self, values: NDArray[np.int8], table: NDArray[np.int8] | None) -> None:
        """Put integers in the place of the floats, and the scales into the annotation."""
        self.node.weights[self.role] = weight_from_rows(self.node, values)
        if self.node.quant is not None:
            self.node.quant = self.node.quant.with_weight_scale(self.role, self.scale, table)


def _floats(node: Node, weight: WeightQuant, context: Context) -> Iterator[_Floats]:
    """Every weight array that is still float."""
    for product in inner_products(node):
        array = node.weights[product.weight]
        if array.dtype.kind != "f":
            continue
        rows = checked_weights(weight_rows(node, array).astype(np.float32, copy=False), node.name)
        scale = weight.scales.get(product.weight)
        if scale is None:
            scale = _scale(rows, weight, negated_channels(node, context), node.name)
        yield _Floats(node, product.weight, rows, scale)


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


def _tables(layers: Sequence[_Floats], settings: SnqSettings) -> list[NDArray[np.int8]]:
    from amctc.quant.snq import GridWeights, find_tables  # slow to import, and few policies cluster

    return find_tables([GridWeights(each.groups, each.scale) for each in layers], settings)


def _integers(floats: _Floats, weight: WeightQuant, table: NDArray[np.int8] | None) -> NDArray[np.int8]:
    """Integers [Cout, everything else] on a grid, or on tables that are given."""
    if table is not None:
        return quantize_with_tables(floats.rows, floats.scale, table)
    return quantize_with(floats.rows, floats.scale, bits=weight.bits, layer_name=floats.node.name)


def _words(weight: WeightQuant) -> str:
    each = " for each output channel" if weight.channel_wise else ""
    if weight.tables:
        return f"{weight.bits} bits, one scale and 16 levels{each}, as they are given"
    if weight.clustering is None:
        return f"{weight.bits} bits, one scale{each}"
    return f"{weight.bits} bits, one scale and 16 levels{each}, init_algo {weight.clustering.init_algo}"
