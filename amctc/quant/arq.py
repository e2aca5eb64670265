"""ARQ: symmetric min-max quantization of weights, per output channel or per tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.quant.grid import QuantParams, check_scale, quantize, scale_offset_from_range

WEIGHT_BITS = (4, 6, 7, 8)


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """Integer weights and the grid they are on.

    `values` is int8 and has the shape of the float weights; `params.scale` has shape `(channels,)`, or `()`
    when `axis` is None; offsets are 0.
    """

    values: NDArray[np.int8]
    params: QuantParams
    axis: int | None

    def dequantize(self) -> NDArray[np.float32]:
        """The weights as float32, as the hardware sees them."""
        return self.params.dequantize(self.values, self.axis or 0)


def quantize_weights(
    weights: NDArray[np.floating], *, axis: int | None, bits: int = 8, layer_name: str = ""
) -> QuantizedWeights:
    """Quantize weights to `bits` bits (4, 6, 7 or 8), with one scale for each index of `axis`, or one if it
    is None.

    The scale is the largest magnitude over `2**(b-1) - 1`, or over `2**(b-1)` where the negative side is
    strictly the larger. A group that is all zero (or nearly) gets scale 1. NaN or Inf (AM412) and a scale
    outside its legal range (AM410) are errors that name the layer. Source: AMCT's `arq`, symmetric as in
    PTQ.
    """
    values = checked_weights(weights, layer_name)
    params = weight_params(values, axis=axis, bits=bits, layer_name=layer_name)
    return QuantizedWeights(params.quantize(values, axis or 0).astype(np.int8), params, axis)


def weight_params(
    weights: NDArray[np.floating], *, axis: int | None, bits: int = 8, layer_name: str = ""
) -> QuantParams:
    """The grid of `quantize_weights` alone; the same errors."""
    if bits not in WEIGHT_BITS:
        raise ValueError(f"weights have {', '.join(map(str, WEIGHT_BITS))} bits, not {bits}")
    values = checked_weights(weights, layer_name)
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    low, high = values.min(axis=others), values.max(axis=others)
    params = scale_offset_from_range(low, high, bits, with_offset=False)
    check_scale(params.scale, layer_name, (float(values.min()), float(values.max())))
    return params


def quantize_with(
    weights: NDArray[np.floating], scale: NDArray[np.float32], *, bits: int = 8, layer_name: str = ""
) -> NDArray[np.int8]:
    """The integers of weights `[channels, ...]` on a grid that is given: `scale` is `(channels,)` or `(1,)`.

    What lies outside the grid is clipped. NaN or Inf (AM412) is an error that names the layer.
    """
    values = checked_weights(weights, layer_name)
    along = scale.reshape((-1,) + (1,) * (values.ndim - 1))
    return quantize(values, along, 0, bits).astype(np.int8)


def checked_weights(weights: NDArray[np.floating], layer_name: str) -> NDArray[np.float32]:
    """The weights in float32, if there are some (AM413) and all are finite (AM412)."""
    values = np.asarray(weights, dtype=np.float32)
    if not values.size:
        raise error("AM413", f"layer `{layer_name}` has no weights: their shape is {values.shape}")
    if not np.isfinite(values).all():
        raise error(
            "AM412",
            f"the weights of layer `{layer_name}` hold NaN or Inf",
            help="repair the trained model; no scale can be chosen for such weights",
        )
    return values
