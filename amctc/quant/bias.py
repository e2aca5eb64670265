"""Biases as int32 on the grid of the accumulator, whose step is `scale_d * scale_w`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import error

_INT32 = np.iinfo(np.int32)


def quantize_bias(
    bias: NDArray[np.floating], scale_d: ArrayLike, scale_w: ArrayLike, layer_name: str = ""
) -> NDArray[np.int32]:
    """`round_half_even(bias / (scale_d * scale_w))` as int32, of the bias's shape `(channels,)`.

    `scale_d` is the activation's scale, `scale_w` the weights', `()` or `(channels,)`. Product and quotient
    are float32, as in AMCT, so a large integer is exact to 24 bits. A NaN or a value that does not fit 32
    bits is an error (AM411) that names the layer.
    """
    step = np.asarray(np.asarray(scale_d, dtype=np.float32) * np.asarray(scale_w, dtype=np.float32))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = np.rint(np.asarray(bias, dtype=np.float32) / step).astype(np.float64)
    fits = (steps >= _INT32.min) & (steps <= _INT32.max)  # NaN fits nowhere
    if not fits.all():
        channel = int(np.argmin(fits))
        value = float(np.asarray(bias).reshape(-1)[channel])
        raise error(
            "AM411",
            f"the bias {value:g} of layer `{layer_name}`, channel {channel}, does not fit 32 bits",
            notes=(f"its step, the activation scale times the weight scale, is {_at(step, channel):g}",),
            help="skip the layer; a channel with tiny weights and a large bias has no 32-bit form",
        )
    return np.asarray(steps.astype(np.int32))


def _at(step: NDArray[np.float32], channel: int) -> float:
    return float(step.reshape(-1)[channel if step.size > 1 else 0])
