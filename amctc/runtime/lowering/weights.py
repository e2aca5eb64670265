"""The weights of linear layers on float data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.retrain import fake_quantized_weight, trained_weights
from amctc.dialects.shapes import node_error
from amctc.dialects.traits import linear_trait, weight_from_rows, weight_rows
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, weight_of


def float_operands(low: Lowering, node: Node) -> list[str]:
    """The names of the weight and, if there is one, the bias, as the numbers that the layer computes with."""
    trait = linear_trait(node)
    found = [low.constant(dequantized_weight(node, trait.weight), f"{node.name}.weight")]
    bias = node.weights.get(trait.bias)
    if bias is not None:
        found.append(low.constant(bias.astype(np.float32, copy=False), f"{node.name}.bias"))
    return found


def dequantized_weight(node: Node, role: str = "weight") -> NDArray[np.float32]:
    """The weights that an inner product of a layer on float data computes with.

    float32 as they are, or put on their grid and brought back where they are trained so; int8 (quantized, the data
    not yet) times their scale, by output channel. Raises `DiagnosticError` (AM432) for int8 without scales.
    """
    weight: NDArray[Any] = weight_of(node, role)
    if weight.dtype.kind == "f":
        how = trained_weights(node)
        return weight.astype(np.float32, copy=False) if how is None else fake_quantized_weight(node, how, weight)
    scale = node.quant.weight.scales.get(role) if node.quant is not None and node.quant.weight is not None else None
    if scale is None:
        message = f"has {weight.dtype} weights without a scale, and its input is not quantized"
        raise DiagnosticError(node_error("AM432", node, message))
    rows = weight_rows(node, weight).astype(np.float32)
    scaled = rows * scale.reshape((-1,) + (1,) * (rows.ndim - 1))
    return weight_from_rows(node, scaled).astype(np.float32, copy=False)
