"""Pooling with Caffe's windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.pooling import MAX, PoolGeometry, pool_geometry
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering

FLT_MAX = float(np.finfo(np.float32).max)


def lower_pooling(low: Lowering, node: Node) -> None:
    """MaxPool or AveragePool with explicit padding; AVE corrects the divisor of windows over the edge.

    A Pooling with a mask is a host op.
    """
    geometry = pool_geometry(node, low.shape(node.inputs[0]))
    if geometry.method == MAX:
        _lower_max(low, node, geometry)
    else:
        _lower_average(low, node, geometry)


def _lower_max(low: Lowering, node: Node, g: PoolGeometry) -> None:
    source, output = low.name(node.inputs[0]), low.name(node.output)
    if is_whole_image(g):
        low.emit("GlobalMaxPool", [source], output)
        return
    inner = without_outside(g)
    direct = inner.out == g.out
    pads = (*g.pad, *end_padding(inner))
    found = low.emit(
        "MaxPool", [source], output if direct else None, kernel_shape=g.kernel, strides=g.stride, pads=pads
    )
    if not direct:
        _append(low, node, found, inner, -FLT_MAX, output)


def _lower_average(low: Lowering, node: Node, g: PoolGeometry) -> None:
    source, output = low.name(node.inputs[0]), low.name(node.output)
    if is_whole_image(g):
        low.emit("GlobalAveragePool", [source], output)
        return
    inner = without_outside(g)
    correction = average_correction(g)
    plain = bool((correction == 1).all())
    mean = low.emit(
        "AveragePool",
        [source],
        output if plain else None,
        kernel_shape=g.kernel,
        strides=g.stride,
        pads=(*g.pad, *end_padding(inner)),
        count_include_pad=1,
    )
    if plain:
        return
    if inner.out != g.out:
        mean = _append(low, node, mean, inner, 0.0)
    low.emit("Mul", [mean, low.constant(correction, f"{node.name}.correction")], output)


def _append(
    low: Lowering, node: Node, source: str, inner: PoolGeometry, value: float, output: str | None = None
) -> str:
    """Give the windows that lie wholly behind the image, which `inner` lacks, one value."""
    out = low.shape(node.output)[2:]
    missing = (out[0] - inner.out[0], out[1] - inner.out[1])
    pads = low.constant(np.array((0, 0, 0, 0, 0, 0, *missing), np.int64), f"{node.name}.pads")
    return low.emit("Pad", [source, pads, low.scalar(value, f"{node.name}.outside")], output)


def without_outside(g: PoolGeometry) -> PoolGeometry:
    """The geometry without the windows that start behind the image, which ONNX Runtime's pooling refuses."""
    sides = zip(g.size, g.stride, g.pad, g.out, strict=True)
    high, wide = (min(out, -(-(n + p) // s)) for n, s, p, out in sides)
    return replace(g, out=(high, wide))


def is_whole_image(g: PoolGeometry) -> bool:
    """Whether the one window is the whole image."""
    return g.kernel == g.size and g.pad == (0, 0) and g.out == (1, 1)


def end_padding(g: PoolGeometry) -> tuple[int, int]:
    """How much padding at the end of each axis lets the last window start where Caffe's does."""
    sides = zip(g.size, g.kernel, g.stride, g.pad, g.out, strict=True)
    high, wide = (max(0, (out - 1) * s + k - n - p) for n, k, s, p, out in sides)
    return high, wide


def average_correction(g: PoolGeometry) -> NDArray[np.float32]:
    """[1, 1, out_h, out_w]: the whole window's size over Caffe's divisor.

    The divisor is the part of the window inside image + padding. Behind that it is 0 or negative,
    and the product with the window's sum, 0, becomes NaN or -0 as in Caffe.
    """
    sides: list[NDArray[np.float64]] = []
    for n, k, s, p, out in zip(g.size, g.kernel, g.stride, g.pad, g.out, strict=True):
        start = np.arange(out, dtype=np.float64) * s - p
        sides.append(np.minimum(start + k, n + p) - start)
    divisor = sides[0][:, None] * sides[1][None, :]
    with np.errstate(divide="ignore"):
        return (g.kernel[0] * g.kernel[1] / divisor).astype(np.float32)[None, None]
