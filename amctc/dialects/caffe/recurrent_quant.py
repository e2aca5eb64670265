"""`lstm_quant_param`: the grids on which a recurrent layer quantizes inside, written and read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amctc.dialects.caffe.params import params
from amctc.dialects.op import InnerProduct, OpError
from amctc.ir import InputQuant, Node
from amctc.quant.grid import FEWEST_BITS, MOST_BITS, grid_limits
from amctc.text.plain import Plain

QUANT_PARAMETER = "lstm_quant_param"


@dataclass(frozen=True)
class OperandGrid:
    """q = clip(round_half_even(x * factor) + offset) on a grid of `bits` bits; `factor` is 1 / scale_d."""

    factor: np.float32
    offset: int
    bits: int


@dataclass(frozen=True)
class RecurrentGrids:
    """The grids of the operands by their numbers, and the deq_scale of each inner product, in their order."""

    operands: Mapping[int, OperandGrid]
    deq_scales: tuple[np.float32, ...]


def is_quantized(node: Node) -> bool:
    """Whether the layer computes on integers."""
    return QUANT_PARAMETER in node.attrs


def recurrent_grids(node: Node, products: Sequence[InnerProduct]) -> RecurrentGrids:
    """What the layer's `lstm_quant_param` says of these products. Raises `OpError` where it does not fit them."""
    message: Any = params(node, QUANT_PARAMETER)
    names = {product.operand: _field_of(node, product.operand) for product in products}
    operands = {operand: _grid(message, name) for operand, name in names.items()}
    deq_scales = tuple(np.float32(scale) for scale in message.deq_scale)
    if len(deq_scales) != len(products):
        raise OpError(f"`{QUANT_PARAMETER}` has {len(deq_scales)} `deq_scale`, for {len(products)} inner products")
    if not all(math.isfinite(scale) and scale > 0 for scale in deq_scales):
        raise OpError(f"a `deq_scale` of `{QUANT_PARAMETER}` is not a positive number")
    return RecurrentGrids(operands, deq_scales)


def write_grids(node: Node, products: Sequence[InnerProduct]) -> None:
    """Give the layer the `lstm_quant_param` that its annotation asks for; ValueError before calibration."""
    quant = node.quant
    if quant is None or quant.weight is None:
        raise ValueError(f"{node.name!r} has no weights to quantize")
    parameter: dict[str, Plain] = {_field_of(node, q.index): _quant_param(node, q) for q in quant.operands}
    deq_scales: list[Plain] = []
    for product in products:
        scale_d, scale_w = quant.operand(product.operand).scale, quant.weight.scales.get(product.weight)
        if scale_d is None or scale_w is None or scale_w.size != 1:
            raise ValueError(f"{node.name!r} has not been calibrated")
        deq_scales.append(float(np.float32(scale_d) * scale_w[0]))
    node.attrs[QUANT_PARAMETER] = {**parameter, "deq_scale": tuple(deq_scales)}


def _field_of(node: Node, operand: int) -> str:
    if operand == len(node.inputs):
        return "h"
    return "x" if operand == 0 else "x_static"


def _quant_param(node: Node, operand: InputQuant) -> dict[str, Plain]:
    if operand.scale is None or operand.offset is None:
        raise ValueError(f"operand {operand.index} of {node.name!r} has not been calibrated")
    return {
        "with_offset": operand.offset != 0,
        "scale": float(np.float32(1) / np.float32(operand.scale)),
        "offset": operand.offset,
        "index": operand.index,
        "num_bits_d": operand.bits,
    }


def _grid(message: Any, name: str) -> OperandGrid:
    where = f"`{QUANT_PARAMETER}.{name}`"
    if not message.HasField(name):
        raise OpError(f"{where} is missing")
    given = getattr(message, name)
    factor, offset = float(given.scale), int(given.offset)
    bits = int(given.num_bits_d) if given.HasField("num_bits_d") else 8
    if not math.isfinite(factor) or factor <= 0:
        raise OpError(f"the `scale` of {where} must be a positive number, not {factor:g}")
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise OpError(f"the `num_bits_d` of {where} must be {FEWEST_BITS} to {MOST_BITS}, not {bits}")
    low, high = grid_limits(bits)
    if not low <= offset <= high:
        raise OpError(f"the `offset` of {where} must be {low} to {high}, not {offset}")
    return OperandGrid(np.float32(factor), offset, bits)
