"""`lstm_quant_param`: the grids on which a recurrent layer quantizes inside, written and read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from amctc.dialects.caffe.params import params
from amctc.dialects.op import InnerProduct, OpError
from amctc.dialects.recurrent_grids import OperandGrid, RecurrentGrids, calibrated_grids
from amctc.ir import Node
from amctc.quant.grid import FEWEST_BITS, MOST_BITS, grid_limits
from amctc.text.plain import Plain

QUANT_PARAMETER = "lstm_quant_param"


def is_quantized(node: Node) -> bool:
    """Whether the layer computes on integers."""
    return QUANT_PARAMETER in node.attrs


def recurrent_grids(node: Node, products: Sequence[InnerProduct]) -> RecurrentGrids:
    """What the layer's `lstm_quant_param` says of these products. Raises `OpError` where it does not fit them."""
    message: Any = params(node, QUANT_PARAMETER)
    names = {product.operand: _field_of(node, product.operand) for product in products}
    operands = {operand: _grid(message, name) for operand, name in names.items()}
    deq_scales = tuple(np.array([scale], np.float32) for scale in message.deq_scale)
    if len(deq_scales) != len(products):
        raise OpError(f"`{QUANT_PARAMETER}` has {len(deq_scales)} `deq_scale`, for {len(products)} inner products")
    if not all(math.isfinite(scale[0]) and scale[0] > 0 for scale in deq_scales):
        raise OpError(f"a `deq_scale` of `{QUANT_PARAMETER}` is not a positive number")
    return RecurrentGrids(operands, deq_scales)


def write_grids(node: Node, products: Sequence[InnerProduct]) -> None:
    """Give the layer the `lstm_quant_param` that its annotation asks for; ValueError before calibration."""
    found = calibrated_grids(node, products)
    if any(deq_scale.size != 1 for deq_scale in found.deq_scales):
        raise ValueError(f"{node.name!r} has more than one scale for the weights of an inner product")
    parameter: dict[str, Plain] = {
        _field_of(node, index): _quant_param(index, grid) for index, grid in found.operands.items()
    }
    node.attrs[QUANT_PARAMETER] = {**parameter, "deq_scale": tuple(float(scale[0]) for scale in found.deq_scales)}


def _field_of(node: Node, operand: int) -> str:
    if operand == len(node.inputs):
        return "h"
    return "x" if operand == 0 else "x_static"


def _quant_param(index: int, grid: OperandGrid) -> dict[str, Plain]:
    return {
        "with_offset": grid.offset != 0,
        "scale": float(grid.factor),
        "offset": grid.offset,
        "index": index,
        "num_bits_d": grid.bits,
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
