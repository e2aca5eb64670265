"""Reductions along axes, and the order of elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from amctc.dialects.ge.fields import element_type, flag, ints, whole
from amctc.dialects.ge.onnx_form import as_long, constant_ints, given_at, longs, onnx_kin, onnx_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.onnx.operands import role_at
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

_PLACES = "int32"
"""Indices of GE's ops, where ONNX's are int64."""
_COUNT = role_at("TopK", 1)
_AXES_AS_INPUT = ("ReduceSum",)
"""What takes its axes as an input in the opset of kin."""


def _reduce(like: str) -> Callable[[Node], Kin]:
    """Without axes nothing is reduced, unless `noop_with_empty_axes` is there and false."""

    def translate(node: Node) -> Kin:
        axes = ints(node, "axes") if node.type.endswith("D") else constant_ints(node, "axes")
        if not axes and not _takes_all(node):
            return onnx_kin("Identity", [given_at(node, "x")])
        attrs: dict[str, Plain] = {"keepdims": int(flag(node, "keep_dims"))}
        x = given_at(node, "x")
        if like in _AXES_AS_INPUT:
            return onnx_kin(like, [x, longs(axes) if axes else None], attrs)
        return onnx_kin(like, [x], {**attrs, "axes": axes} if axes else attrs)

    return translate


def _takes_all(node: Node) -> bool:
    return node.type in ("ReduceMean", "ReduceMeanD") and not flag(node, "noop_with_empty_axes")


def _arg_max(node: Node) -> Kin:
    """The first of the largest elements."""
    if node.type == "ArgMaxD":
        axes: tuple[int, ...] = (whole(node, "dimension"),)
    else:
        axes = constant_ints(node, "dimension")
    if len(axes) != 1:
        raise OpError("`dimension` must be one number")
    dtype = _PLACES if node.type == "ArgMaxD" else element_type(node, "dtype")
    return onnx_kin("ArgMax", [given_at(node, "x")], {"axis": axes[0], "keepdims": 0}, dtypes={0: dtype})


def _top_k(node: Node) -> Kin:
    """The largest elements and their places."""
    k = given_at(node, "k")
    if not isinstance(k, np.ndarray) or k.size != 1:
        raise NoKin("cannot be run: its `k` is not one constant number")
    attrs: dict[str, Plain] = {
        "axis": whole(node, "dim"),
        "largest": int(flag(node, "largest")),
        "sorted": int(flag(node, "sorted")),
    }
    return onnx_kin("TopK", [given_at(node, "x"), as_long(k)], attrs, outputs=(0, 1), dtypes={1: _PLACES})


def _sort(node: Node) -> Kin:
    """As many of the largest elements as there are."""
    axis = whole(node, "axis")

    def shaped(shape: Shape | None) -> Mapping[str, Array]:
        if shape is not None and not -len(shape) <= axis < len(shape):
            raise OpError(f"`axis` is {axis}, and its data have {len(shape)} axes")
        return {_COUNT: longs((1 if shape is None else shape[axis],))}

    attrs: dict[str, Plain] = {"axis": axis, "largest": int(flag(node, "descending")), "sorted": 1}
    return replace(onnx_kin("TopK", [0], attrs, outputs=(0, 1), dtypes={1: _PLACES}), shaped=shaped)


def _both(like: str) -> tuple[OpDef, ...]:
    types = (like, f"{like}D")
    return tuple(onnx_row(type, like, _reduce(like)) for type in types)


REDUCE_OPS: tuple[OpDef, ...] = (
    *(row for like in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd") for row in _both(like)),
    onnx_row("ArgMaxV2", "ArgMax", _arg_max),
    onnx_row("ArgMaxD", "ArgMax", _arg_max),
    onnx_row("TopK", "TopK", _top_k),
    onnx_row("Sort", "TopK", _sort),
)
