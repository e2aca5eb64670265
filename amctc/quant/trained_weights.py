"""Weights that are trained quantized: by ARQ anew in every pass, or by a scale that is learned (weight ULQ).

Weights are rows `[channels, values]`, and have a scale for each row or one for all. Both forms are symmetric, and both
let the gradient of the quantized weights through to the weights unchanged. Source: AMCT's retraining; the gradient of
a learned scale is that of LSQ.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from amctc.quant.arq import quantize_weights, weight_params
from amctc.quant.grid import FLT_EPSILON, FloatArray, fake_quantize, grid_limits


def arq_trained(rows: NDArray[np.floating], *, channel_wise: bool, bits: int, layer_name: str = "") -> FloatArray:
    """Rows as ARQ puts them on their grid and brings them back. Raises what `quantize_weights` does.

    Going back, the gradient of the result is that of the rows.
    """
    return quantize_weights(rows, axis=0 if channel_wise else None, bits=bits, layer_name=layer_name).dequantize()


def first_scale(rows: NDArray[np.floating], *, channel_wise: bool, bits: int, layer_name: str = "") -> FloatArray:
    """The scale that learning begins with, `[channels]` or `[1]`: that of ARQ. Raises what `weight_params` does."""
    params = weight_params(rows, axis=0 if channel_wise else None, bits=bits, layer_name=layer_name)
    return np.asarray(params.scale.reshape(-1), np.float32)


def usable_scale(scale: FloatArray, previous: FloatArray) -> FloatArray:
    """A learned scale, with that of the step before wherever it is no number above FLT_EPSILON.

    A step of training may take a scale below 0. AMCT quantizes with it nevertheless, or with 1 in its place.
    """
    good = np.isfinite(scale) & (scale > FLT_EPSILON)
    return np.where(good, scale, previous).astype(np.float32)


def ulq_trained(rows: NDArray[np.floating], scale: FloatArray, bits: int) -> FloatArray:
    """Rows on the grid of a scale that is given (`[channels]` or `[1]`, above 0), and back."""
    return fake_quantize(rows, scale.reshape(-1, 1), 0, bits)


def scale_gradient(
    rows: NDArray[np.floating], gradient: NDArray[np.floating], scale: FloatArray, bits: int
) -> FloatArray:
    """The gradient of the scale, of its shape, for the gradient of the quantized rows.

    `sum(g*r) / sqrt(N * (2**(b-1) - 1))` over the values of a scale, N the values of one row (of all rows alike, where
    there is one scale); r is `round(w/s) - w/s` inside the grid, `2**(b-1) - 1` above and `-2**(b-1)` below it. The
    gradient of the weights is that of the quantized ones, outside the grid too.
    """
    low_q, high_q = grid_limits(bits)
    values, along = np.asarray(rows, np.float32), scale.reshape(-1, 1)
    steps = values / along
    residue = np.rint(steps) - steps
    residue = np.where(values > along * np.float32(high_q), np.float32(high_q), residue)
    residue = np.where(values < along * np.float32(low_q), np.float32(low_q), residue)
    products = (residue * np.asarray(gradient, np.float32)).astype(np.float32)
    sums = products.reshape(scale.size, -1).sum(axis=1, dtype=np.float32)
    return np.asarray(sums * np.float32(1 / math.sqrt(values.shape[1] * high_q)), np.float32)


def reciprocal_gradient(gradient: FloatArray, scale: FloatArray) -> FloatArray:
    """The gradient of `1 / scale`, where that is what is learned, from the gradient of the scale: `-scale**2 * g`."""
    return (-gradient * scale * scale).astype(np.float32)
