"""Values behind each other, and the parts of values."""

from __future__ import annotations

from collections.abc import Callable

from amctc.dialects.ge.fields import whole
from amctc.dialects.ge.onnx_form import Given, constant_ints, given, given_at, longs, moving, onnx_kin, onnx_row
from amctc.dialects.kin import Kin
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node


def _concat(node: Node) -> Kin:
    return onnx_kin("Concat", given(node), {"axis": whole(node, "concat_dim")})


def _concat_first(node: Node) -> Kin:
    """The axis stands before the values."""
    return onnx_kin("Concat", given(node)[1:], {"axis": _one(node, "concat_dim")})


def _concat_last(node: Node) -> Kin:
    return onnx_kin("Concat", given(node)[:-1], {"axis": _one(node, "concat_dim")})


def _split_d(node: Node) -> Kin:
    return _parts(node, given_at(node, "x"), whole(node, "split_dim"))


def _split(node: Node) -> Kin:
    return _parts(node, given_at(node, "x"), _one(node, "split_dim"))


def _parts(node: Node, x: Given, axis: int) -> Kin:
    """Equal parts, as many as `num_split` and the outputs say."""
    count = whole(node, "num_split")
    if count != len(node.outputs):
        raise OpError(f"`num_split` is {count}, and it has {len(node.outputs)} outputs")
    return onnx_kin("Split", [x], {"axis": axis}, outputs=tuple(range(count)))


def _split_v(node: Node) -> Kin:
    sizes = constant_ints(node, "size_splits")
    axis = _one(node, "split_dim")
    if len(sizes) != len(node.outputs) or min(sizes, default=0) < 0:
        raise OpError(f"`size_splits` is {list(sizes)}, and it has {len(node.outputs)} outputs")
    outputs = tuple(range(len(sizes)))
    return onnx_kin("Split", [given_at(node, "x"), longs(sizes)], {"axis": axis}, outputs=outputs)


def _one(node: Node, slot: str) -> int:
    """The single number of a constant."""
    found = constant_ints(node, slot)
    if len(found) != 1:
        raise OpError(f"`{slot}` must be one number")
    return found[0]


def _row(type: str, like: str, translate: Callable[[Node], Kin], count: int | None) -> OpDef:
    return moving(onnx_row(type, like, translate), count)


CONCAT_SPLIT_OPS: tuple[OpDef, ...] = (
    _row("ConcatV2D", "Concat", _concat, None),
    _row("Concat", "Concat", _concat_first, None),
    _row("ConcatV2", "Concat", _concat_last, None),
    _row("SplitD", "Split", _split_d, 1),
    _row("Split", "Split", _split, 1),
    _row("SplitV", "Split", _split_v, 1),
)
