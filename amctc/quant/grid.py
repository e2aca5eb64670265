"""The integer grid: from real values to integers of b bits and back.

`q = clip(round_half_even(x / scale) + offset, -2**(b-1), 2**(b-1) - 1)` and `x' = (q - offset) * scale`,
all in float32. Zero is always exactly representable. An offset is an ONNX zero point on the signed grid; it
is 0 for symmetric quantization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import error

FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int32]

FLT_EPSILON = np.float32(1.192092896e-7)
"""The smallest legal scale (not included); the largest one is its reciprocal, 8388608 (not included)."""

FEWEST_BITS = 2
MOST_BITS = 16


@dataclass(frozen=True, eq=False)
class QuantParams:
    """A grid: one scale and offset, or one of each per channel.

    `scale` is float32 and `offset` int32, of the same shape: `()` for a tensor, `(channels,)` otherwise.
    """

    scale: FloatArray
    offset: IntArray
    bits: int

    def quantize(self, x: ArrayLike, axis: int = 0) -> NDArray[np.signedinteger]:
        """The integers of `x`; with a grid per channel, `axis` is the channels' axis of `x`."""
        values = np.asarray(x, dtype=np.float32)
        return quantize(values, *self._along(axis, values.ndim), self.bits)

    def dequantize(self, q: NDArray[np.signedinteger], axis: int = 0) -> FloatArray:
        """The float32 values of integers `q`; `axis` is the channels' axis of `q`, if it has one."""
        return dequantize(q, *self._along(axis, q.ndim))

    def _along(self, axis: int, ndim: int) -> tuple[FloatArray, IntArray]:
        if self.scale.ndim == 0:
            return self.scale, self.offset
        shape = [1] * ndim
        shape[axis] = -1
        return self.scale.reshape(shape), self.offset.reshape(shape)


def grid_limits(bits: int) -> tuple[int, int]:
    """The smallest and the largest integer of a grid of 2 to 16 bits; `ValueError` for other widths."""
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"a grid has {FEWEST_BITS} to {MOST_BITS} bits, not {bits}")
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def storage_dtype(bits: int) -> np.dtype[np.signedinteger]:
    """What integers of `bits` bits are stored in: int8 up to 8 bits, int16 up to 16."""
    grid_limits(bits)
    return np.dtype(np.int8) if bits <= 8 else np.dtype(np.int16)


def quantize(x: ArrayLike, scale: ArrayLike, offset: ArrayLike, bits: int) -> NDArray[np.signedinteger]:
    """The integers of finite `x` (any shape), in `storage_dtype(bits)`; `scale` and `offset` broadcast to
    `x`.
    """
    low, high = grid_limits(bits)
    with np.errstate(over="ignore"):  # an overflowing quotient is clipped like every other large one
        steps = np.rint(np.asarray(x, dtype=np.float32) / np.asarray(scale, dtype=np.float32))
    steps += np.asarray(offset, dtype=np.float32)
    clipped: NDArray[np.signedinteger] = np.clip(steps, low, high).astype(storage_dtype(bits))
    return clipped


def dequantize(q: ArrayLike, scale: ArrayLike, offset: ArrayLike) -> FloatArray:
    """The float32 values `(q - offset) * scale` of integers `q`; `scale` and `offset` broadcast to `q`."""
    steps = np.asarray(q).astype(np.int32) - np.asarray(offset, dtype=np.int32)
    return np.asarray(steps.astype(np.float32) * np.asarray(scale, dtype=np.float32))


def fake_quantize(x: ArrayLike, scale: ArrayLike, offset: ArrayLike, bits: int) -> FloatArray:
    """`x` (any shape) put on the grid and brought back, float32."""
    return dequantize(quantize(x, scale, offset, bits), scale, offset)


def scale_offset_from_range(minimum: ArrayLike, maximum: ArrayLike, bits: int, with_offset: bool) -> QuantParams:
    """The grid that just holds `[minimum, maximum]` widened to include 0; one per element of the arguments.

    With offset: `scale = (max - min) / (2**b - 1)`, `offset = round(-2**(b-1) - min / scale)`. Without:
    `scale = max(|max|, |min|)` over `2**(b-1)` if |max| < |min| before the widening, else over `2**(b-1) - 1`. A scale
    under FLT_EPSILON becomes 1 (with the lowest offset): the range is as good as empty. A range that is too large gives
    an illegal scale, for `check_scale` to refuse. Source of the formulas: AMCT's `calculate_scale_offset` and
    `process_scale`.
    """
    low_q, high_q = grid_limits(bits)
    low = np.minimum(np.asarray(minimum, dtype=np.float32), np.float32(0))
    high = np.maximum(np.asarray(maximum, dtype=np.float32), np.float32(0))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if with_offset:
            scale = np.asarray((high - low) / np.float32(high_q - low_q))
        else:
            # Of the range as it is given: where all is one negative value, no side is strictly the larger.
            negative = np.abs(np.asarray(maximum, np.float32)) < np.abs(np.asarray(minimum, np.float32))
            levels = np.where(negative, np.float32(-low_q), np.float32(high_q))
            scale = np.asarray(np.maximum(high, -low) / levels)
        degenerate = scale < FLT_EPSILON
        offset = np.rint(np.float32(low_q) - low / scale)
    if not with_offset:
        offset = np.zeros_like(scale)
    else:
        offset = np.where(degenerate | ~np.isfinite(offset), np.float32(low_q), offset)
    return QuantParams(guard_scale(scale.astype(np.float32)), np.asarray(offset).astype(np.int32), bits)


def guard_scale(scale: FloatArray) -> FloatArray:
    """`scale`, with 1 in place of anything under FLT_EPSILON (AMCT's `process_scale`)."""
    return np.where(scale < FLT_EPSILON, np.float32(1), scale).astype(np.float32)


def check_scale(scale: ArrayLike, layer_name: str, data_range: tuple[float, float] | None = None) -> None:
    """Refuse (AM410) a scale that is not in (FLT_EPSILON, 1 / FLT_EPSILON), naming the layer and its data
    range.

    Outside, the scale or its reciprocal, which the hardware multiplies by, is no longer trustworthy.
    """
    values = np.atleast_1d(np.asarray(scale, dtype=np.float32))
    legal = np.isfinite(values) & (values > FLT_EPSILON) & (values < 1 / FLT_EPSILON)
    if bool(legal.all()):
        return
    first = int(np.argmin(legal))
    channel = f" for channel {first}" if values.size > 1 else ""
    seen = f", its data range is [{data_range[0]:g}, {data_range[1]:g}]" if data_range is not None else ""
    raise error(
        "AM410",
        f"the scale {values[first]:g} of layer `{layer_name}`{channel} is illegal{seen}",
        notes=(f"a scale must be above {FLT_EPSILON:g} and below {1 / FLT_EPSILON:g}",),
        help="bring the layer's data into a smaller range, or skip the layer",
    )
