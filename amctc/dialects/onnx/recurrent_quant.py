"""How an ONNX recurrent layer says on which grids it quantizes inside.

The attribute `grids` has, by operand, `factor`, `offset` and `bits`; the deq_scales are weights of the node. ONNX has
neither: the forms of a quantized model say it each in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.operands import GRIDS
from amctc.dialects.op import InnerProduct, OpError
from amctc.dialects.recurrent_grids import OperandGrid, RecurrentGrids, calibrated_grids
from amctc.ir import Node
from amctc.quant.grid import FEWEST_BITS, MOST_BITS, grid_limits
from amctc.text.plain import Plain

X, H = "x", "h"
"""The operands: the data and the hidden state."""


def deq_role(operand: str) -> str:
    """The role of the deq_scales of an operand's product."""
    return f"deq_scale_{operand}"


def is_quantized(node: Node) -> bool:
    """Whether the layer computes on integers."""
    return isinstance(node.attrs.get(GRIDS), Mapping)


def quantize_inside(node: Node, products: Sequence[InnerProduct]) -> None:
    """Let the layer quantize as its annotation asks; ValueError before calibration."""
    write_grids(node, calibrated_grids(node, products))


def write_grids(node: Node, grids: RecurrentGrids) -> None:
    """Let the layer quantize on these grids: those of operand 0, the data, and of the hidden state, the last."""
    data, hidden = grids.operands[0], grids.operands[len(node.inputs)]
    node.attrs[GRIDS] = {X: _plain(data), H: _plain(hidden)}
    node.weights[deq_role(X)], node.weights[deq_role(H)] = grids.deq_scales


def read_grids(node: Node, products: Sequence[InnerProduct]) -> RecurrentGrids:
    """What the layer says. Raises `OpError` where it does not fit these products."""
    found = node.attrs.get(GRIDS)
    given = found if isinstance(found, Mapping) else {}
    operands = {0: _grid(given, X), len(node.inputs): _grid(given, H)}
    scales = (_deq_scales(node, product, name) for product, name in zip(products, (X, H), strict=True))
    return RecurrentGrids(operands, tuple(scales))


def _plain(grid: OperandGrid) -> dict[str, Plain]:
    return {"factor": float(grid.factor), "offset": grid.offset, "bits": grid.bits}


def _grid(given: Mapping[str, Plain], name: str) -> OperandGrid:
    found = given.get(name)
    parts = found if isinstance(found, Mapping) else {}
    factor, offset, bits = parts.get("factor"), parts.get("offset"), parts.get("bits")
    if not isinstance(factor, float) or not (math.isfinite(factor) and factor > 0):
        raise OpError(f"the scale of its operand {name} must be a positive number")
    if not isinstance(bits, int) or not FEWEST_BITS <= bits <= MOST_BITS:
        raise OpError(f"its operand {name} must have {FEWEST_BITS} to {MOST_BITS} bits")
    low, high = grid_limits(bits)
    if not isinstance(offset, int) or not low <= offset <= high:
        raise OpError(f"the offset of its operand {name} must be {low} to {high}")
    return OperandGrid(np.float32(factor), offset, bits)


def _deq_scales(node: Node, product: InnerProduct, name: str) -> NDArray[np.float32]:
    found, rows = node.weights.get(deq_role(name)), node.weights[product.weight].shape[1]
    if found is None or found.shape not in ((1,), (rows,)):
        raise OpError(f"the product of its operand {name} must have 1 or {rows} `deq_scale`")
    scales = found.astype(np.float32, copy=False)
    if not bool((np.isfinite(scales) & (scales > 0)).all()):
        raise OpError(f"a `deq_scale` of its operand {name} is not a positive number")
    return scales
