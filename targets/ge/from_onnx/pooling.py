"""Poolings and reductions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from amctc.ir import Node, Value
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.targets.ge.from_onnx.reading import (
    FLOATS,
    axes_of,
    axis_of,
    data,
    finish,
    ints,
    longs,
    one,
    read_elsewhere,
    sizes,
    whole,
    word,
)
from amctc.text.plain import Plain

_IMAGE, _LINE = 2, 1
_WIDTH = 3


@dataclass(frozen=True)
class _Windows:
    """Kernel and strides of each axis, and the padding before and behind it."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]


def _windows(node: Node, x: Value) -> _Windows:
    """`auto_pad` as the numbers that it stands for."""
    shape = need_shape(x)
    kernel = sizes(node, "kernel_shape", ())
    count = len(kernel)
    if count > _IMAGE or len(shape) != count + 2:
        raise Unsayable(f"goes over {count} axes, and GE's op that is known here over two")
    if set(sizes(node, "dilations", (1,) * count)) != {1}:
        raise Unsayable("has windows with gaps (`dilations`)")
    strides = sizes(node, "strides", (1,) * count)
    auto = word(node, "auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [
            max((-(-size // step) - 1) * step + k - size, 0)
            for size, step, k in zip(shape[2:], strides, kernel, strict=True)
        ]
        pads = tuple((p // 2, p - p // 2) if auto == "SAME_UPPER" else (p - p // 2, p // 2) for p in wanted)
    else:
        given = sizes(node, "pads", (0,) * (2 * count)) if auto == "NOTSET" else (0,) * (2 * count)
        pads = tuple(zip(given[:count], given[count:], strict=True))
    return _Windows(kernel, strides, pads)


def _attributes(windows: _Windows, node: Node) -> dict[str, Plain]:
    line = len(windows.kernel) == _LINE
    (top, bottom), (left, right) = (*windows.pads, (0, 0)) if line else windows.pads
    return {
        "ksize": (1, 1, *windows.kernel, *((1,) * line)),
        "strides": (1, 1, *windows.strides, *((1,) * line)),
        "padding_mode": "CALCULATED",
        "pads": (top, bottom, left, right),
        "data_format": "NCHW",
        "global_pooling": False,
        "ceil_mode": bool(whole(node, "ceil_mode", 0)),
    }


def _pool(c: Crossing, node: Node, type: str, more: Mapping[str, Plain]) -> None:
    """A pooling; one over one axis runs on images one element wide."""
    x = data(c, node)
    if x.dtype not in FLOATS:
        raise Unsayable(f"pools {x.dtype}, and GE's op floats")
    windows = _windows(node, x)
    attributes = {**_attributes(windows, node), **more}
    if len(windows.kernel) == _IMAGE:
        one(c, node, type, [x], attributes)
        return
    image = c.op(node, "Unsqueeze", [x], {"axes": (_WIDTH,)}, part="image").output
    made = c.op(node, type, [image], attributes, part="on_image")
    finish(c, node, c.op(node, "Squeeze", [made.output], {"axis": (_WIDTH,)}).output)


def _max_pool(c: Crossing, node: Node) -> None:
    """MaxPoolV3."""
    if read_elsewhere(c, node):
        raise Unsayable("gives the indices of its maxima")
    _pool(c, node, "MaxPoolV3", {})


def _average_pool(c: Crossing, node: Node) -> None:
    """AvgPoolV2, which leaves padding out of the mean unless it is told to count it."""
    _pool(c, node, "AvgPoolV2", {"exclusive": not whole(node, "count_include_pad", 0), "divisor_override": 0})


def _global_average(c: Crossing, node: Node) -> None:
    one(c, node, "GlobalAveragePool", [data(c, node)])


def _global_max(c: Crossing, node: Node) -> None:
    """MaxPoolV3 over the whole image; of other data, ReduceMax."""
    x = data(c, node)
    shape = need_shape(x)
    if len(shape) == _IMAGE + 2:
        attributes: dict[str, Plain] = {
            "ksize": (1, 1, *shape[2:]),
            "strides": (1, 1, 1, 1),
            "data_format": "NCHW",
            "global_pooling": True,
        }
        one(c, node, "MaxPoolV3", [x], attributes)
    else:
        one(c, node, "ReduceMax", [x, longs(range(2, len(shape)))], {"keep_dims": True})


def _reduce(type: str) -> Rule:
    """GE's op with its axes as a constant; no axes are all, unless `noop_with_empty_axes` says none."""

    def cross(c: Crossing, node: Node) -> None:
        x = data(c, node)
        rank = len(need_shape(x))
        axes = axes_of(c, node)
        if not axes:
            if whole(node, "noop_with_empty_axes", 0):
                one(c, node, "Identity", [x])
                return
            axes = tuple(range(rank))
        found = longs([axis_of(axis, rank) for axis in axes])
        one(c, node, type, [x, found], {"keep_dims": bool(whole(node, "keepdims", 1))})

    return cross


def _arg_max(c: Crossing, node: Node) -> None:
    """ArgMaxV2, which leaves its axis out; an Unsqueeze brings it back."""
    if whole(node, "select_last_index", 0):
        raise Unsayable("takes the last of several maxima")
    x = data(c, node)
    axis = axis_of(whole(node, "axis", 0), len(need_shape(x)))
    keeps = bool(whole(node, "keepdims", 1))
    attributes: dict[str, Plain] = {"dtype": {"dt": _INT64}}
    made = c.op(node, "ArgMaxV2", [x, longs((axis,))], attributes, part="index" if keeps else "")
    if keeps:
        made = c.op(node, "Unsqueeze", [made.output], {"axes": (axis,)})
    finish(c, node, made.output)


_INT64 = 9
"""In C++'s numbering."""


def _top_k(c: Crossing, node: Node) -> None:
    """TopK, whose indices are int32: a Cast makes them int64."""
    x = data(c, node)
    k = ints(c, node, 1, "k")
    if k is None or len(k) != 1:
        raise Unsayable("has no constant `k`")
    attributes: dict[str, Plain] = {
        "dim": axis_of(whole(node, "axis", -1), len(need_shape(x))),
        "largest": bool(whole(node, "largest", 1)),
        "sorted": bool(whole(node, "sorted", 1)),
    }
    made = c.op(node, "TopK", [x, longs(k).astype("int32").reshape(())], attributes, outputs=2)
    indices = made.outputs[1]
    if read_elsewhere(c, node):
        indices = c.op(node, "Cast", [indices], {"dst_type": _INT64}, part="indices").output
        finish(c, node, made.outputs[0], indices)
    else:
        finish(c, node, made.outputs[0])


POOLING: Mapping[str, Rule] = MappingProxyType(
    {
        "onnx.MaxPool": _max_pool,
        "onnx.AveragePool": _average_pool,
        "onnx.GlobalAveragePool": _global_average,
        "onnx.GlobalMaxPool": _global_max,
        **{
            f"onnx.{type}": _reduce(type)
            for type in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
        },
        "onnx.ArgMax": _arg_max,
        "onnx.TopK": _top_k,
    }
)
