"""Bilinear resampling of images: Interp, BilinearInterpolate, Resize."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from amctc.dialects.caffe.blobs import MOST_ELEMENTS, describe, need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape


class Grid(Enum):
    """Where output element i of an axis lies among the input elements, for sizes `size` and `out`."""

    CORNERS = "i * (size - 1) / (out - 1): the first and last elements of both lie on each other"
    HALF_PIXEL = "max((i + 0.5) * size / out - 0.5, 0); behind the last element is that element"
    ORIGIN = "i * size / out; behind the last element is 0"


@dataclass(frozen=True)
class Sampling:
    """One axis: `size` elements from `first` on are resampled to `out`."""

    first: int
    size: int
    out: int
    grid: Grid


def samplings(node: Node, shape: Shape) -> tuple[Sampling, Sampling]:
    """How height and width of an input [N, C, H, W] are resampled. Raises `OpError` for wrong parameters."""
    need_rank(shape, 4)
    high, wide = _SAMPLINGS[node.op](node, (shape[2], shape[3]))
    for axis in (high, wide):
        if axis.size < 1:
            raise OpError(f"nothing is left of an image of {describe(shape[2:])}")
        if axis.out < 1:
            raise OpError(f"the output would have the size {high.out}x{wide.out}")
    return high, wide


def _interp(node: Node, size: tuple[int, int]) -> tuple[Sampling, Sampling]:
    param = params(node, "interp_param")
    if param.pad_beg > 0 or param.pad_end > 0:
        raise OpError("`pad_beg` and `pad_end` only crop: they must be 0 or negative")
    inner = tuple(max(0, n + param.pad_beg + param.pad_end) for n in size)
    out = _interp_size(param, inner)
    high, wide = (Sampling(-param.pad_beg, n, o, Grid.CORNERS) for n, o in zip(inner, out, strict=True))
    return high, wide


def _interp_size(param: Any, inner: tuple[int, ...]) -> tuple[int, ...]:
    by_factor = param.HasField("zoom_factor") or param.HasField("shrink_factor")
    if param.HasField("height") != param.HasField("width"):
        raise OpError("`height` and `width` must be given together")
    if param.HasField("height") == by_factor:
        raise OpError("the output's size is missing or given twice; give `height` and `width`, or a factor")
    if not by_factor:
        return int(param.height), int(param.width)
    zoom, shrink = int(param.zoom_factor), int(param.shrink_factor)
    if zoom < 1 or shrink < 1:
        raise OpError("`zoom_factor` and `shrink_factor` must be positive")
    shrunk = [(n - 1) // shrink + 1 for n in inner]
    return tuple(n + (n - 1) * (zoom - 1) for n in shrunk)


def _bilinear(node: Node, size: tuple[int, int]) -> tuple[Sampling, Sampling]:
    param = params(node, "bilinear_interpolate_param")
    grid = Grid.CORNERS if param.align_corners else Grid.HALF_PIXEL
    if param.HasField("dst_h") != param.HasField("dst_w"):
        raise OpError("`dst_h` and `dst_w` must be given together")
    if param.HasField("dst_h"):
        out = int(param.dst_h), int(param.dst_w)
    else:
        out = _scaled("scale_factor", param.scale_factor, size[0]), _scaled("scale_factor", param.scale_factor, size[1])
    return Sampling(0, size[0], out[0], grid), Sampling(0, size[1], out[1], grid)


def _resize(node: Node, size: tuple[int, int]) -> tuple[Sampling, Sampling]:
    param = params(node, "resize_param")
    if param.is_pyramid_test:
        high = _scaled("out_height_scale", param.out_height_scale, size[0])
        wide = _scaled("out_width_scale", param.out_width_scale, size[1])
    else:
        high, wide = int(param.height), int(param.width)
        if high < 1 or wide < 1:
            raise OpError("`height` and `width` must be given and positive")
    return Sampling(0, size[0], high, Grid.ORIGIN), Sampling(0, size[1], wide, Grid.ORIGIN)


def _scaled(name: str, factor: float, size: int) -> int:
    out = factor * size
    if not math.isfinite(out) or factor <= 0 or out > MOST_ELEMENTS:
        raise OpError(f"`{name}` {factor:g} gives no usable size")
    return int(out)


_SAMPLINGS: dict[str, Callable[[Node, tuple[int, int]], tuple[Sampling, Sampling]]] = {
    "caffe.Interp": _interp,
    "caffe.BilinearInterpolate": _bilinear,
    "caffe.Resize": _resize,
}


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    high, wide = samplings(node, shapes[0])
    return ((*shapes[0][:2], high.out, wide.out),)


def _changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    return all(axis.first == 0 and axis.size == axis.out for axis in samplings(node, shapes[0]))


RESAMPLE_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Interp",
        summary="bilinear resampling with the corners on each other, by a factor or to a size",
        inputs=ONE,
        outputs=ONE,
        infer=_infer,
        changes_nothing=_changes_nothing,
        parameter="interp_param",
        quantizable=Quantizable(on_by_default=True),
        notes=(
            "negative `pad_beg` and `pad_end` crop first; `shrink_factor` gives (size - 1) / shrink + 1, then "
            "`zoom_factor` size + (size - 1) * (zoom - 1); an output of one element is the first of the input"
        ),
    ),
    OpDef(
        name="caffe.BilinearInterpolate",
        summary="bilinear resampling, corners on corners or by centres of elements (`align_corners: false`)",
        inputs=ONE,
        outputs=ONE,
        infer=_infer,
        changes_nothing=_changes_nothing,
        parameter="bilinear_interpolate_param",
        notes="of an SSD fork; `dst_h` and `dst_w`, or the size times `scale_factor`, rounded down",
    ),
    OpDef(
        name="caffe.Resize",
        summary="bilinear resampling in which output element i lies at i * size / out",
        inputs=ONE,
        outputs=ONE,
        infer=_infer,
        changes_nothing=_changes_nothing,
        parameter="resize_param",
        notes=(
            "of an SSD fork; what lies behind the last element counts as 0; with `is_pyramid_test` the size is the "
            "input's times the two scales, rounded down"
        ),
    ),
)
