"""ULQ: quantization of data by a range that training learns (Universal Learned Quantization).

Forward, values are put on the grid that just holds the range of two clips, and brought back. Backward, rounding counts
as the identity: the gradient is that of `x + scale * residue`, the residue of rounding held constant, inside the grid,
and of `clip + scale * residue` outside. Source: AMCT's ULQ; all in float32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from amctc.quant.grid import FloatArray, QuantParams, grid_limits, scale_offset_from_range


class Clips(NamedTuple):
    """A range of data that has a width: `low <= 0 <= high` and `low < high`."""

    high: float
    low: float


class UlqGradients(NamedTuple):
    """What flows back: `data` of the shape of the data, and one number for each clip; float32."""

    data: FloatArray
    clip_max: np.float32
    clip_min: np.float32


def usable_clips(clip_max: float, clip_min: float, *, fixed_min: bool, previous: Clips | None = None) -> Clips | None:
    """The range that clips stand for, where those of the step before are `previous`.

    With `fixed_min` the range begins at 0. Clips that are no finite numbers, or whose maximum is not above the minimum,
    are both those of before, or no range where there are none: the data are not quantized then. One end on the wrong
    side of 0 is that of before, or 0. Source: AMCT's check of clips in its C++ form; that of its Python form reverts
    both only where they are equal.
    """
    low = 0.0 if fixed_min else clip_min
    if not (math.isfinite(clip_max) and math.isfinite(low)) or clip_max <= low:
        return previous._replace(low=0.0) if previous is not None and fixed_min else previous
    if clip_max < 0:
        return Clips(previous.high if previous is not None else 0.0, low)
    if low > 0:
        return Clips(clip_max, previous.low if previous is not None else 0.0)
    return Clips(clip_max, low)


def grid_of_clips(clips: Clips, bits: int, *, with_offset: bool = True) -> QuantParams:
    """The grid that just holds a range. Training has one with an offset; AMCT has the other one too."""
    return scale_offset_from_range(clips.low, clips.high, bits, with_offset)


def ulq_grid(clip_max: float, clip_min: float, *, bits: int, fixed_min: bool) -> QuantParams | None:
    """The grid with an offset for clips that have no earlier ones; None where they are no range.

    So it is for clips that were never set: both are 0 then.
    """
    clips = usable_clips(clip_max, clip_min, fixed_min=fixed_min)
    return None if clips is None else grid_of_clips(clips, bits)


def ulq_gradients(
    x: ArrayLike, gradient: ArrayLike, clips: Clips, grid: QuantParams, *, fixed_min: bool = False
) -> UlqGradients:
    """The gradients of data and clips, for the gradient of `grid`'s fake quantization of `x` (both of one shape).

    With s, o the grid, `u = x > s*(2**(b-1) - 1 - o)` and `l = x < s*(-2**(b-1) - o)`, t the value (clip_max where u,
    clip_min where l) over s and `e = (round(t) - t) / (2**b - 1)`: `dx = g` where neither u nor l, else 0;
    `dclip_max = sum((e + u)*g)`, `dclip_min = sum((l - e)*g)`, which is 0 with `fixed_min`, as nothing moves that end.
    Source: AMCT's ULQ.
    """
    values, above = np.asarray(x, np.float32), np.asarray(gradient, np.float32)
    low_q, high_q = grid_limits(grid.bits)
    scale, offset = np.float32(grid.scale), int(grid.offset)
    upper = values > scale * np.float32(high_q - offset)
    lower = values < scale * np.float32(low_q - offset)
    ends = np.where(lower, np.float32(clips.low), values)
    steps = np.where(upper, np.float32(clips.high), ends) / scale
    residue = (np.rint(steps) - steps) / np.float32(high_q - low_q)
    inside = np.where(upper | lower, np.float32(0), above)
    to_max = np.sum((residue + upper) * above, dtype=np.float32)
    to_min = np.sum((lower - residue) * above, dtype=np.float32)
    return UlqGradients(inside, to_max, np.float32(0) if fixed_min else to_min)
