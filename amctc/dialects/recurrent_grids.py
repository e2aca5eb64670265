"""The grids on which a recurrent layer quantizes inside, whatever its dialect writes them into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import InnerProduct
from amctc.ir import InputQuant, Node


@dataclass(frozen=True)
class OperandGrid:
    """q = clip(round_half_even(x * factor) + offset) on a grid of `bits` bits; `factor` is 1 / scale_d."""

    factor: np.float32
    offset: int
    bits: int


@dataclass(frozen=True, eq=False)
class RecurrentGrids:
    """The grids of the operands by their numbers, and the deq_scales of each inner product, in their order.

    The deq_scales are float32 [1] or [Cout]: scale_d * scale_w.
    """

    operands: Mapping[int, OperandGrid]
    deq_scales: tuple[NDArray[np.float32], ...]


def calibrated_grids(node: Node, products: Sequence[InnerProduct]) -> RecurrentGrids:
    """What the annotation of a layer asks for; ValueError before calibration."""
    quant = node.quant
    if quant is None or quant.weight is None:
        raise ValueError(f"{node.name!r} has no weights to quantize")
    operands = {operand.index: _grid(node, operand) for operand in quant.operands}
    deq_scales: list[NDArray[np.float32]] = []
    for product in products:
        scale_d, scale_w = quant.operand(product.operand).scale, quant.weight.scales.get(product.weight)
        if scale_d is None or scale_w is None:
            raise ValueError(f"{node.name!r} has not been calibrated")
        deq_scales.append(np.asarray(np.float32(scale_d) * scale_w, np.float32))
    return RecurrentGrids(operands, tuple(deq_scales))


def _grid(node: Node, operand: InputQuant) -> OperandGrid:
    if operand.scale is None or operand.offset is None:
        raise ValueError(f"operand {operand.index} of {node.name!r} has not been calibrated")
    return OperandGrid(np.float32(1) / np.float32(operand.scale), operand.offset, operand.bits)
