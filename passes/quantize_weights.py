"""quantize-weights: float weights to integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import inner_products, weight_from_rows, weight_rows
from amctc.ir import Graph, Node, WeightQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.arq import quantize_weights, quantize_with


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Quantize the weights of every annotated layer with the algorithm its annotation names (ARQ).

    The weight arrays (one for each inner product of the layer) become int8 and the scales go into the
    annotation; where it has scales already (of a record), those are taken. Until Quantize nodes are
    inserted such a layer computes with the weights q*scale, so calibration sees the weights that the
    deployed model will have.
    """

    name: ClassVar[str] = "quantize-weights"
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("insert-quant",)
    before: ClassVar[tuple[str, ...]] = ("observe", "calibrate")

    def run(self, graph: Graph, context: Context) -> bool:
        changed = False
        for node in graph.nodes:
            if node.quant is None or node.quant.weight is None:
                continue
            try:
                _quantize(node, node.quant.weight)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            each = "one scale for each output channel" if node.quant.weight.channel_wise else "one scale"
            node.record(self.name, f"{node.quant.weight.bits} bits, {each}", node.quant.rule)
            changed = True
        return changed


def _quantize(node: Node, weight: WeightQuant) -> None:
    axis = 0 if weight.channel_wise else None
    for product in inner_products(node):
        rows = weight_rows(node, node.weights[product.weight]).astype(np.float32, copy=False)
        given = weight.scales.get(product.weight)
        if given is not None:
            values = quantize_with(rows, given, bits=weight.bits, layer_name=node.name)
            node.weights[product.weight] = weight_from_rows(node, values)
            continue
        found = quantize_weights(rows, axis=axis, bits=weight.bits, layer_name=node.name)
        node.weights[product.weight] = weight_from_rows(node, found.values)
        if node.quant is not None:
            node.quant = node.quant.with_weight_scale(product.weight, found.params.scale.reshape(-1))
