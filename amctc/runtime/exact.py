"""Exact integer sums in numpy, for what ONNX Runtime's integer kernels do not offer.

Every product and sum here is an integer below 2**53, so float64 (and with it BLAS) is exact: at most
2**17 * 2**7 a product and 2**29 products a sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import Window
from amctc.ir.node import Shape

Exact: TypeAlias = NDArray[np.float64]


def convolve(x: Exact, weight: Exact, g: Window, out: Shape) -> Exact:
    """Correlation of x [N, C, spatial...] with weight [Cout, C/g, kernel...], padded with 0, to [N, Cout, *out]."""
    padded = np.pad(x, ((0, 0), (0, 0), *g.pads))
    sums = np.zeros((x.shape[0], g.outputs, *out))
    for place, window in _windows(g, out):
        part = _grouped(padded[window], g.group)
        taps = weight[place].reshape(g.group, g.outputs // g.group, -1)
        sums += (taps @ part).reshape(sums.shape)
    return sums


def convolve_transposed(x: Exact, weight: Exact, g: Window, out: Shape) -> Exact:
    """The transpose of `convolve`: x [N, C, spatial...] and weight [C, Cout/g, kernel...] to [N, Cout, *out]."""
    spread = tuple(
        max(size + begin + end, (count - 1) * stride + (kernel - 1) * dilation + 1)
        for size, (begin, end), count, stride, kernel, dilation in zip(
            out, g.pads, x.shape[2:], g.stride, g.kernel, g.dilation, strict=True
        )
    )
    sums = np.zeros((x.shape[0], g.outputs, *spread))
    parts = _grouped(x, g.group)
    for place, window in _windows(g, x.shape[2:]):
        taps = weight[place].reshape(g.group, g.channels // g.group, -1)
        target = sums[window]
        target += (taps.transpose(0, 2, 1) @ parts).reshape(target.shape)
    inside: Any = (..., *(slice(begin, begin + size) for (begin, _), size in zip(g.pads, out, strict=True)))
    return np.asarray(sums[inside])


def _windows(g: Window, count: Shape) -> Iterator[tuple[Any, Any]]:
    """For each tap of the kernel: its index into the weights, and that of the image elements that meet it."""
    for place in itertools.product(*(range(k) for k in g.kernel)):
        met = (
            slice(at * d, at * d + (n - 1) * s + 1, s)
            for at, d, n, s in zip(place, g.dilation, count, g.stride, strict=True)
        )
        yield (..., *place), (..., *met)


def _grouped(x: Exact, group: int) -> Exact:
    """[N, C, spatial...] as [N, g, C/g, elements]."""
    return x.reshape(x.shape[0], group, x.shape[1] // group, -1)
