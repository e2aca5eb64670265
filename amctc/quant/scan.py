"""One look at many float32 values: in compiled code where there is some, else in numpy, with equal results.

The compiled functions (`amctc.quant.compiled`) take one pass over memory where numpy takes several.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.quant import compiled
from amctc.quant.compiled import Floats

RUN: Final = 16
"""Values are counted in runs of so many, a cache line, because picking single ones costs as much as reading all."""

_BLOCK: Final = 1 << 10
"""Of so many at a time where all are counted."""

_CHUNK: Final = 1 << 16
"""Values that numpy counts at once: many against the bins, few enough for the cache."""


def is_compiled_for(values: Floats) -> bool:
    """Whether there is compiled code, and takes such an array: one without gaps."""
    return compiled.SCAN is not None and values.flags.c_contiguous and values.flags.aligned


def extremes(values: Floats, low: np.float32 | None = None, high: np.float32 | None = None) -> tuple[float, float]:
    """The least and the largest of some values, at least one; not both are finite where not all values are.

    `low` and `high` are bounds that hold, where the caller asks for no more: they may be given back as they are.
    """
    if compiled.SCAN is not None and is_compiled_for(values):
        least, most, finite = compiled.SCAN.extremes(values)
        return (least, most) if finite else (np.nan, np.nan)
    # One look is left, for NaN and Inf.
    most = float(values.max() if high is None or low is not None else high)
    return float(values.min() if low is None else low), most


def extend_tails(
    values: Floats, lower: Floats, lower_filled: int, upper: Floats, upper_filled: int
) -> tuple[tuple[float, float], int, int]:
    """The `extremes` of values, at least one, and to how many values two tails are filled when they have taken them in.

    `lower` holds the least values, `upper` the largest, in no order; so many are known already. Where not all values
    are finite the tails mean nothing afterwards. `ValueError` where code is not `is_compiled_for` the values.
    """
    if compiled.SCAN is None:
        raise ValueError("there is no compiled code")
    low, high, finite, below, above = compiled.SCAN.extend_tails(values, lower, lower_filled, upper, upper_filled)
    return (low, high) if finite else (np.nan, np.nan), below, above


def runs(samples: Floats, stride: int) -> Floats:
    """Of samples (n, values), every `stride`-th run of each, from the first on.

    What fills no run at the end of a sample is left out, where not all is taken.
    """
    if stride == 1:
        return samples
    count, size = samples.shape
    return samples[:, : size - size % RUN].reshape(count, -1, RUN)[:, ::stride]


def count_runs(samples: Floats, stride: int, first: int, factor: np.float32, counts: NDArray[np.int64]) -> bool:
    """Add `stride` to the counts of the values of `runs`; False where nothing was done, for want of compiled code.

    The place of a value is trunc(value * factor) - first; `factor` is a power of two.
    """
    if compiled.SCAN is None or not is_compiled_for(samples):
        return False
    row, run = (samples.shape[1], RUN) if stride > 1 else (samples.size, _BLOCK)
    compiled.SCAN.count_runs(samples, row, run, stride, first, float(factor), counts)
    return True


def extremes_and_counts(
    values: Floats, low: np.float32, extent: np.float32, bins: int
) -> tuple[tuple[float, float], NDArray[np.int64] | None]:
    """The `extremes` of values (n,), and their `count_between`, where that costs no second look at them.

    The counts mean nothing where a value lies below `low` or above `low + extent`; often there are none then.
    """
    if compiled.SCAN is None or not is_compiled_for(values):
        return extremes(values), None
    counts = np.zeros(bins + 1, dtype=np.int64)
    least, most, finite, counted = compiled.SCAN.count_between(values, float(low), float(extent), counts)
    return (least, most) if finite else (np.nan, np.nan), counts if counted else None


def count_between(values: Floats, low: np.float32, extent: np.float32, bins: int) -> NDArray[np.int64]:
    """Counts (bins + 1,) of values (n,): the place of one is trunc((value - low) * bins / extent), in float32.

    `bins` is a power of two, `extent` above 0; all values lie between `low` and `low + extent`.
    """
    counts = extremes_and_counts(values, low, extent, bins)[1] if is_compiled_for(values) else None
    if counts is not None:
        return counts
    # A power of two times a float32 is exact, so that the product may come last, where it cannot overflow.
    factor = np.float32(bins)
    counts = np.zeros(bins + 1, dtype=np.int64)
    # Both made once: an array of a chunk costs more to get than to fill.
    buffer = np.empty(min(_CHUNK, values.size), dtype=np.float32)
    numbers = np.empty(buffer.size, dtype=np.intp)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        work, places = buffer[: chunk.size], numbers[: chunk.size]
        np.subtract(chunk, low, out=work)
        np.divide(work, extent, out=work)
        np.multiply(work, factor, out=work)
        np.copyto(places, work, casting="unsafe")  # truncates
        counts += np.bincount(places, minlength=bins + 1)
    return counts
