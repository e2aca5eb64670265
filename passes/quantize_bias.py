"""quantize-bias: float biases to int32 on the grid of the sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import inner_products, product_bias
from amctc.ir import Graph, Node, NodeQuant, WeightQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.bias import quantize_bias


@dataclass(frozen=True)
class QuantizeBias(Pass):
    """Turn the bias of every layer with quantized weights into int32: round(bias / (scale_d * scale_w))."""

    name: ClassVar[str] = "quantize-bias"
    needs_before: ClassVar[tuple[str, ...]] = ("quantize-weights", "calibrate|apply-record")
    needs_after: ClassVar[tuple[str, ...]] = ("insert-quant",)

    def run(self, graph: Graph, context: Context) -> bool:
        changed = False
        for node in graph.nodes:
            if node.quant is None or node.quant.weight is None:
                continue
            try:
                done = _quantize(node, node.quant, node.quant.weight)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            if done:
                node.record(self.name, f"{' and '.join(done)} in int32 on the grid scale_d * scale_w")
            changed |= bool(done)
        return changed


def _quantize(node: Node, quant: NodeQuant, weight: WeightQuant) -> list[str]:
    """Quantize every bias of a node on the grid of its own inner product, and give the roles."""
    made: dict[str, NDArray[np.int32]] = {}
    for product in inner_products(node):
        bias = product_bias(node, product)
        scale_d, scale_w = quant.operand(product.operand).scale, weight.scales.get(product.weight)
        if product.bias is None or bias is None or scale_d is None or scale_w is None:
            continue
        found = quantize_bias(bias.astype(np.float32, copy=False), scale_d, scale_w, node.name)
        begin, end = product.bias_part or (0, found.size)
        whole = made.setdefault(product.bias, np.zeros(node.weights[product.bias].shape, np.int32))
        whole.reshape(-1)[begin:end] = found.reshape(-1)
    node.weights.update(made)
    return list(made)
