"""Poolings and reductions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.targets.caffe.from_onnx.builder import (
    Crossing,
    Rule,
    Unsayable,
    attribute,
    axis_of,
    need_shape,
    sizes,
    whole,
)
from amctc.text.plain import Plain

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Pool:
    """The windows of an ONNX pooling: `pads` before and behind height and width, `out` how many there are."""

    kernel: Shape
    stride: Shape
    pads: Pads
    out: Shape


def cross_max_pool(c: Crossing, node: Node) -> None:
    """Pooling, whose windows end at the image's edge: what stands behind it counts for nothing."""
    if len(node.outputs) > 1:
        raise Unsayable("gives the indices of its maxima")
    data, pool = _windows(c, node)
    data, _, parameters = _placed(c, node, data, pool, -float(np.finfo(np.float32).max))
    c.finish(node, c.map(node, "Pooling", data, {"pool": "MAX", **parameters}), checked=False)


def cross_average_pool(c: Crossing, node: Node) -> None:
    """Pooling; where Caffe divides a window's sum by another number, a Scale for each window behind it."""
    source, pool = _windows(c, node)
    size, counts = need_shape(source)[2:], bool(whole(node, "count_include_pad", 0))
    theirs = [_divisors(*side, counts) for side in _sides(size, pool, pool.pads)]
    data, pads, parameters = _placed(c, node, source, pool, 0.0)
    ours = [_divisors(*side, True) for side in _sides(need_shape(data)[2:], pool, pads)]
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.multiply.outer(*ours) / np.multiply.outer(*theirs)
    if not bool(np.isfinite(right).all()):
        raise Unsayable("has a window that lies outside of its image")
    mean = c.map(node, "Pooling", data, {"pool": "AVE", **parameters})
    if not bool((right == 1).all()):
        weights = {"scale": right.astype(np.float32)}
        mean = c.map(node, "Scale", mean, {"axis": 2, "num_axes": 2}, weights=weights, part="divisor")
    c.finish(node, mean, checked=False)


def _sides(size: Shape, pool: _Pool, pads: Pads) -> list[tuple[int, int, int, tuple[int, int], int]]:
    return list(zip(size, pool.kernel, pool.stride, pads, pool.out, strict=True))


def _divisors(
    size: int, kernel: int, stride: int, pads: tuple[int, int], out: int, with_padding: bool
) -> NDArray[np.float64]:
    """How many elements of each window are counted along one axis."""
    start = np.arange(out, dtype=np.float64) * stride - pads[0]
    low, high = (-pads[0], size + pads[1]) if with_padding else (0, size)
    return np.minimum(start + kernel, high) - np.maximum(start, low)


def _windows(c: Crossing, node: Node) -> tuple[Value, _Pool]:
    data = c.data(node)
    shape, out = need_shape(data), c.wanted_shape(node)
    if len(shape) != 4:
        raise Unsayable(f"pools data of {len(shape)} axes; Caffe's Pooling takes images, of 4")
    if out is None:
        raise Unsayable("has an output of an unknown shape")
    if set(sizes(node, "dilations", (1, 1))) != {1}:
        raise Unsayable("has windows with gaps (`dilations`), which Caffe's Pooling has not")
    kernel, stride = _kernel(node), sizes(node, "strides", (1, 1))
    auto = attribute(node, "auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return data, _Pool(kernel, stride, _same(shape, kernel, stride, auto == "SAME_UPPER"), out[2:])
    given = sizes(node, "pads", (0, 0, 0, 0)) if auto == "NOTSET" else (0, 0, 0, 0)
    pads = ((given[0], given[2]), (given[1], given[3]))
    return data, _Pool(kernel, stride, pads, _inside(shape[2:], stride, pads, out[2:]))


def _inside(size: Shape, stride: Shape, pads: Pads, out: Shape) -> Shape:
    """How many windows begin before the padding behind the image: older opsets count, and no runtime has, the rest."""
    sides = zip(size, stride, pads, out, strict=True)
    return tuple(min(count, -(-(n + before) // s)) for n, s, (before, _), count in sides)


def _same(shape: Shape, kernel: Shape, stride: Shape, upper: bool) -> Pads:
    found: list[tuple[int, int]] = []
    for size, k, s in zip(shape[2:], kernel, stride, strict=True):
        both = max(0, (-(-size // s) - 1) * s + k - size)
        small, large = both // 2, both - both // 2
        found.append((small, large) if upper else (large, small))
    return tuple(found)


def _kernel(node: Node) -> Shape:
    kernel = sizes(node, "kernel_shape", ())
    if len(kernel) != 2:
        raise Unsayable("has no window of two sizes")
    return kernel


def _placed(c: Crossing, node: Node, data: Value, pool: _Pool, padding: float) -> tuple[Value, Pads, dict[str, Plain]]:
    """(data, Caffe's padding, parameters) with which Caffe's windows lie as ONNX's and are as many.

    The sizes are rounded up or down, whichever fits; where neither does, a Pad layer stands in front.
    """
    fitting = _fitting(need_shape(data), pool, tuple(first for first, _ in pool.pads))
    if fitting is None and any(map(any, pool.pads)):
        (up, down), (left, right) = pool.pads
        pads: dict[str, Plain] = {"pad_u": up, "pad_d": down, "pad_l": left, "pad_r": right}
        if padding:
            pads["pad_value"] = padding
        data = c.map(node, "Pad", data, pads, part="pad")
        fitting = _fitting(need_shape(data), pool, (0, 0))
    if fitting is None:
        raise Unsayable(f"gives images of {pool.out[0]}x{pool.out[1]}, which Caffe's Pooling does not")
    return data, *fitting


def _fitting(shape: Shape, pool: _Pool, pad: Shape) -> tuple[Pads, dict[str, Plain]] | None:
    parameters = _by_axis("kernel", pool.kernel, "kernel_size") | _by_axis("stride", pool.stride, "stride")
    if any(pad):
        parameters |= _by_axis("pad", pad, "pad")
    if any(pad) and any(p >= k for p, k in zip(pad, pool.kernel, strict=True)):
        return None
    roundings: tuple[dict[str, Plain], ...] = ({}, {"round_mode": "FLOOR"})
    for rounding in roundings:
        if _out_size(shape, pool.kernel, pool.stride, pad, not rounding) == pool.out:
            return tuple((side, side) for side in pad), {**parameters, **rounding}
    return None


def _out_size(shape: Shape, kernel: Shape, stride: Shape, pad: Shape, up: bool) -> Shape:
    """What Caffe's Pooling gives: see `pool_geometry`."""
    found: list[int] = []
    for size, k, s, p in zip(shape[2:], kernel, stride, pad, strict=True):
        room = size + 2 * p - k
        count = (-(-room // s) if up else room // s) + 1
        if any(pad) and (count - 1) * s >= size + p:
            count -= 1
        found.append(count)
    return tuple(found)


def _by_axis(stem: str, both: Shape, one: str) -> dict[str, Plain]:
    high, wide = both
    return {one: high} if high == wide else {f"{stem}_h": high, f"{stem}_w": wide}


def _global(method: str) -> Rule:
    def cross(c: Crossing, node: Node) -> None:
        data = c.data(node)
        c.finish(node, _whole_image(c, node, data, method))

    return cross


def _whole_image(c: Crossing, node: Node, data: Value, method: str) -> Value:
    if len(need_shape(data)) != 4:
        raise Unsayable(f"pools data of {len(need_shape(data))} axes; Caffe's Pooling takes images, of 4")
    return c.map(node, "Pooling", data, {"pool": method, "global_pooling": True})


_REDUCTIONS = MappingProxyType(
    {"ReduceMean": "MEAN", "ReduceSum": "SUM", "ReduceL1": "ASUM", "ReduceSumSquare": "SUMSQ"}
)
_OF_AXES = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"})


def cross_reduce(c: Crossing, node: Node) -> None:
    """Pooling of a whole image, Reduction of the last axes, or the layer of the same name."""
    data = c.data(node)
    shape = need_shape(data)
    axes, keep = _axes(c, node, len(shape)), bool(whole(node, "keepdims", 1))
    if not axes:
        c.finish(node, c.map(node, "Power", data))
        return
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    wanted = kept if keep else tuple(size for axis, size in enumerate(shape) if axis not in axes)
    images = len(shape) == 4 and axes == (2, 3)
    last = axes == tuple(range(axes[0], len(shape)))
    if images and node.type in ("ReduceMean", "ReduceMax"):
        found = _whole_image(c, node, data, "AVE" if node.type == "ReduceMean" else "MAX")
    elif last and node.type in _REDUCTIONS:
        found = c.map(node, "Reduction", data, {"operation": _REDUCTIONS[node.type], "axis": axes[0]})
    elif node.type in _OF_AXES:
        found = c.map(node, node.type, data, {"axis": axes, "keepdims": keep})
    else:
        raise Unsayable(f"runs along the axes {list(axes)}, and Caffe's Reduction along the last ones")
    c.finish(node, c.reshaped(node, found, wanted, part="reshape"))


def _axes(c: Crossing, node: Node, rank: int) -> tuple[int, ...]:
    found = c.ints(node, 1, "axes")
    if found is None:
        given = sizes(node, "axes", ())
        if not given and whole(node, "noop_with_empty_axes", 0):
            return ()
        found = given or tuple(range(rank))
    return tuple(sorted({axis_of(axis, rank) for axis in found}))


POOLING: Mapping[str, Rule] = MappingProxyType(
    {
        "MaxPool": cross_max_pool,
        "AveragePool": cross_average_pool,
        "GlobalAveragePool": _global("AVE"),
        "GlobalMaxPool": _global("MAX"),
        **dict.fromkeys(itertools.chain(_REDUCTIONS, _OF_AXES), cross_reduce),
    }
)
