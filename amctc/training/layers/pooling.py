"""Pooling and SPP. The gradient of MAX goes to the first maximum of a window, as in Caffe."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.pooling import MAX, PoolGeometry, pool_geometry
from amctc.dialects.caffe.pyramid import pyramid_levels
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors

_LEAST = float(np.finfo(np.float32).min)
"""What Caffe's MAX begins with."""


def pooling(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The largest element or the mean of each window; perhaps the mask of the largest."""
    g = pool_geometry(layer.node, shapes[0])
    if len(layer.node.outputs) > 1:
        return lambda inputs: _masked(inputs[0], g)
    return lambda inputs: (pooled(inputs[0], g),)


def pyramid(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Poolings of all levels one behind the other; that of a lone level as it is."""
    levels = pyramid_levels(layer.node, shapes[0])
    if len(levels) == 1:
        return lambda inputs: (pooled(inputs[0], levels[0]),)
    return lambda inputs: (torch.cat([pooled(inputs[0], level).flatten(1) for level in levels], dim=1),)


def pooled(x: Tensor, g: PoolGeometry) -> Tensor:
    """[N, C, H, W] to [N, C, *g.out]."""
    return _largest(x, g)[0] if g.method == MAX else _mean(x, g)


def _largest(x: Tensor, g: PoolGeometry) -> tuple[Tensor, Tensor]:
    """The maxima, and where each lies in its channel's image: the index there, -1 in the padding."""
    ceil = _own_rounding(g)
    if ceil is not None:
        return functional.max_pool2d(x, g.kernel, g.stride, g.pad, ceil_mode=ceil, return_indices=True)
    found, places = functional.max_pool2d(_padded(x, g, _LEAST), g.kernel, g.stride, return_indices=True)
    width = (g.out[1] - 1) * g.stride[1] + g.kernel[1]
    row, column = places // width - g.pad[0], places % width - g.pad[1]
    inside = (row >= 0) & (row < g.size[0]) & (column >= 0) & (column < g.size[1])
    return found, torch.where(inside, row * g.size[1] + column, -1)


def _masked(x: Tensor, g: PoolGeometry) -> Tensors:
    found, places = _largest(x, g)
    return found, places.to(x.dtype)


def _mean(x: Tensor, g: PoolGeometry) -> Tensor:
    ceil = _own_rounding(g)
    if ceil is not None:
        return functional.avg_pool2d(x, g.kernel, g.stride, g.pad, ceil_mode=ceil)
    sums = functional.avg_pool2d(_padded(x, g, 0.0), g.kernel, g.stride, divisor_override=1)
    counts = np.outer(*(_covered(g, axis) for axis in range(2)))
    return sums / torch.from_numpy(counts).to(x)


def _covered(g: PoolGeometry, axis: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """How many elements of image + padding each window holds along an axis; 0 or less beyond them, as in Caffe."""
    starts = np.arange(g.out[axis]) * g.stride[axis] - g.pad[axis]
    ends = np.minimum(starts + g.kernel[axis], g.size[axis] + g.pad[axis])
    return (ends - starts).astype(np.float32)


def _own_rounding(g: PoolGeometry) -> bool | None:
    """The `ceil_mode` by which torch has the same windows; None where it has not."""
    if any(2 * pad > kernel for pad, kernel in zip(g.pad, g.kernel, strict=True)):
        return None
    rooms = [n + 2 * p - k for n, p, k in zip(g.size, g.pad, g.kernel, strict=True)]
    if min(rooms) < 0:
        return None
    down = tuple(room // s + 1 for room, s in zip(rooms, g.stride, strict=True))
    if down == g.out:
        return False
    # torch drops a last window that begins behind the image and its left padding, Caffe only where there is padding.
    up = (-(-room // s) + 1 for room, s in zip(rooms, g.stride, strict=True))
    kept = (u - ((u - 1) * s >= n + p) for u, s, n, p in zip(up, g.stride, g.size, g.pad, strict=True))
    return True if tuple(kept) == g.out else None


def _padded(x: Tensor, g: PoolGeometry, value: float) -> Tensor:
    """The image with its padding, cut or filled up on the right so that the windows fit exactly."""
    whole = [(out - 1) * s + k for out, s, k in zip(g.out, g.stride, g.kernel, strict=True)]
    behind = [w - n - p for w, n, p in zip(whole, g.size, g.pad, strict=True)]
    return functional.pad(x, (g.pad[1], behind[1], g.pad[0], behind[0]), value=value)


POOLING_RULES: Mapping[str, Rule] = MappingProxyType({"caffe.Pooling": pooling, "caffe.SPP": pyramid})
