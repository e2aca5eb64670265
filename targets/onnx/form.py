"""A form of the quantized model: how it spells the quant dialect and the weights of quantized layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amctc.dialects.shapes import annotate_dtypes
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node, Value
from amctc.runtime.lowering.builder import LinearOperands, Lowering, Rule, weight_of
from amctc.runtime.lowering.weights import float_operands

FLOAT = "float32"


@dataclass(frozen=True)
class Form:
    """`rules` are for ops of the quant dialect; `operands` writes the weights of a linear layer."""

    rules: Mapping[str, Rule]
    operands: LinearOperands


def is_quantized(node: Node) -> bool:
    """Whether a linear layer has integer weights: then a Quantize stands before it and a Dequantize behind."""
    return weight_of(node, linear_trait(node).weight).dtype.kind == "i"


def integers_in_float(low: Lowering, node: Node) -> list[str]:
    """The integers, held in float32; of a layer that is not quantized its floats."""
    if not is_quantized(node):
        return float_operands(low, node)
    trait = linear_trait(node)
    found = [low.constant(node.weights[trait.weight].astype(np.float32), f"{node.name}.weight")]
    bias = node.weights.get(trait.bias)
    return found if bias is None else [*found, low.constant(bias.astype(np.float32), f"{node.name}.bias")]


def float_types(graph: Graph) -> dict[Value, str]:
    """The element type of every value, with float32 for those that hold the integers of a Quantize, and their sums.

    So a layer is written as it computes on floats; the form says what its numbers are.
    """
    found = dict(annotate_dtypes(graph))
    integers: set[Value] = set()
    for node in graph.nodes:
        if node.op in ("quant.Dequantize", "quant.AntiQuantize"):
            continue
        if node.op == "quant.Quantize" or any(value in integers for value in node.inputs):
            integers.update(node.outputs)
    found.update(dict.fromkeys(integers, FLOAT))
    return found
