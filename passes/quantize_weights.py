"""quantize-weights: float weights to integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node, NodeQuant, WeightQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.arq import quantize_weights


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Quantize the weights of every annotated layer with the algorithm its annotation names (ARQ).

    The weight array becomes int8 and the scales go into the annotation. Until Quantize nodes are
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
                _quantize(node, node.quant, node.quant.weight)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            each = "one scale for each output channel" if node.quant.weight.channel_wise else "one scale"
            node.record(self.name, f"{node.quant.weight.bits} bits, {each}", node.quant.rule)
            changed = True
        return changed


def _quantize(node: Node, quant: NodeQuant, weight: WeightQuant) -> None:
    trait = linear_trait(node)
    rows = trait.by_output_channel(node, node.weights[trait.weight]).astype(np.float32, copy=False)
    axis = 0 if weight.channel_wise else None
    found = quantize_weights(rows, axis=axis, bits=weight.bits, layer_name=node.name)
    node.weights[trait.weight] = trait.from_output_channel(node, found.values)
    node.quant = quant.with_weight_scale(found.params.scale.reshape(-1))
