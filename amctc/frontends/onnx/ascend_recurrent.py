"""AMCT's quantized LSTM and GRU as ONNX's own, which quantize inside.

`targets/onnx/recurrent_deploy.py` is the other direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.onnx.recurrent import KINDS
from amctc.dialects.onnx.recurrent_quant import write_grids
from amctc.dialects.op import OpError
from amctc.dialects.recurrent_grids import OperandGrid, RecurrentGrids
from amctc.dialects.traits import grids_inside
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.quant.deq_scale import unpack_deq_scale
from amctc.quant.grid import grid_limits
from amctc.quant.nibbles import unpack_pairs
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True)
class _Kind:
    """`positions`: where the inputs of ONNX's op stand in the original; `deq_scale` is where its scales do."""

    type: str
    positions: tuple[int, ...]
    deq_scale: int


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "BasicLSTMInplaceFillWindowCache": _Kind("LSTM", (0, 1, 2, 5, 6, 3, 4), 8),
        "BasicGRUInplaceFillWindowCache": _Kind("GRU", (0, 1, 2, 4, 5, 3), 7),
    }
)
ASCEND_RECURRENT_OPS = frozenset(_KINDS)
_BITS: Mapping[int, int] = MappingProxyType({2: 8, 6: 16})
"""By GE's number of a data type."""
_KEPT = ("hidden_size", "direction", "linear_before_reset", "input_forget", "activations")


def as_recurrent(proto: NodeProto) -> NodeProto:
    """The LSTM or GRU that computes in float what the node computes in integers."""
    from onnx import NodeProto

    kind = _KINDS[proto.op_type]
    given = [_input(proto, position) for position in kind.positions]
    made = NodeProto(op_type=kind.type, name=proto.name, input=given, output=proto.output)
    clipped = any(each.name == "clip" and each.f > 0 for each in proto.attribute)
    kept = (*_KEPT, "clip") if clipped else _KEPT
    listed = [each for each in proto.attribute if each.name in kept]
    made.attribute.extend(each for each in listed if each.name != "activations" or each.strings)
    return made


def take_grids(node: Node, proto: NodeProto, attrs: Mapping[str, Plain], constants: Mapping[str, Array]) -> None:
    """Let the node quantize as the original says. Raises `DiagnosticError` (AM349) where that is wrong or missing."""
    kind = _KINDS[proto.op_type]
    words = constants.get(_input(proto, kind.deq_scale))
    recurrence = node.weights.get("R")
    if words is None or words.dtype != np.uint64 or recurrence is None or recurrence.ndim != 3:
        raise _wrong(proto, "needs constant int8 weights and a `deq_scale` of type uint64")
    _unpack(node, KINDS[kind.type].gates)
    recurrence = node.weights["R"]
    bits = _BITS.get(_integer(attrs.get("quant_dtype", 2)))
    if bits is None:
        raise _wrong(proto, "needs a `quant_dtype` of 2 (INT8) or 6 (INT16)")
    grids = {0: _grid(proto, attrs, "x", bits), len(node.inputs): _grid(proto, attrs, "h", bits)}
    scales = unpack_deq_scale(words.reshape(-1).astype(np.uint64)).scale
    write_grids(node, RecurrentGrids(grids, _deq_scales(proto, scales, KINDS[kind.type].gates, recurrence.shape[1])))
    try:
        grids_inside(node)
    except (OpError, ValueError) as mistake:
        raise _wrong(proto, f"is no layer that can be computed: {mistake}") from mistake


def _unpack(node: Node, gates: int) -> None:
    """Bring integers of 4 bits, two in a byte along the input, into a byte each: R tells them, as it is square."""
    w, r = node.weights.get("W"), node.weights["R"]
    if w is None or w.ndim != 3 or w.dtype != np.int8 or r.dtype != np.int8 or r.shape[1] != 2 * gates * r.shape[2]:
        return
    node.weights |= {"W": unpack_pairs(w.astype(np.int8), 2), "R": unpack_pairs(r.astype(np.int8), 2)}


def _input(proto: NodeProto, position: int) -> str:
    return str(proto.input[position]) if position < len(proto.input) else ""


def _deq_scales(
    proto: NodeProto, scales: NDArray[np.float32], gates: int, rows: int
) -> tuple[NDArray[np.float32], ...]:
    """Those of each product, float32 [1] or [rows]; the file has one for each gate or for each row."""
    if scales.size not in (2 * gates, 2 * rows):
        raise _wrong(proto, f"has {scales.size} `deq_scale`, where {2 * gates} or {2 * rows} must be")
    halves = np.split(scales.astype(np.float32), 2)
    if scales.size == 2 * rows:
        return tuple(halves)
    return tuple(half[:1] if bool((half == half[0]).all()) else np.repeat(half, rows // gates) for half in halves)


def _grid(proto: NodeProto, attrs: Mapping[str, Plain], name: str, bits: int) -> OperandGrid:
    factor, offset = _number(attrs.get(f"quant_scale_{name}")), _number(attrs.get(f"quant_offset_{name}"))
    low, high = grid_limits(bits)
    if not 0 < factor < np.inf:
        raise _wrong(proto, f"needs a positive `quant_scale_{name}`")
    if not low <= offset <= high or offset != int(offset):
        raise _wrong(proto, f"has the `quant_offset_{name}` {offset:g}, which {bits} bits do not hold")
    return OperandGrid(np.float32(factor), int(offset), bits)


def _number(value: Plain | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _integer(value: Plain) -> int:
    return value if isinstance(value, int) else 0


def _wrong(proto: NodeProto, what: str) -> DiagnosticError:
    return error("AM349", f"the node `{proto.name}` ({proto.op_type}) {what}", help="the file is damaged")
