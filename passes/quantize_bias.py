"""quantize-bias: float biases to int32 on the grid of the sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.bias import quantize_bias


@dataclass(frozen=True)
class QuantizeBias(Pass):
    """Turn the bias of every layer with quantized weights into int32: round(bias / (scale_d * scale_w))."""

    name: ClassVar[str] = "quantize-bias"
    needs_before: ClassVar[tuple[str, ...]] = ("quantize-weights", "calibrate")
    needs_after: ClassVar[tuple[str, ...]] = ("insert-quant",)

    def run(self, graph: Graph, context: Context) -> bool:
        changed = False
        for node in graph.nodes:
            if node.quant is None or node.quant.weight is None or node.quant.weight.scale is None:
                continue
            role = linear_trait(node).bias
            bias, scale_d = node.weights.get(role), node.quant.inputs[0].scale
            if bias is None or scale_d is None:
                continue
            try:
                floats = bias.astype(np.float32, copy=False)
                integers = quantize_bias(floats, scale_d, node.quant.weight.scale, node.name)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            node.weights[role] = integers
            node.record(self.name, "bias in int32 on the grid scale_d * scale_w")
            changed = True
        return changed
