"""One look at many float32 values: in compiled code where it was built (`native.c`), else in numpy, with equal results.

The compiled functions take one pass over memory where numpy takes several. Nothing but speed depends on them: an
installation without a C compiler has none.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RUN: Final = 16
"""Values are counted in runs of so many, a cache line, because picking single ones costs as much as reading all."""

_BLOCK: Final = 1 << 10
"""Of so many at a time where all are counted."""

_CHUNK: Final = 1 << 16
"""Values that numpy counts at once: many against the bins, few enough for the cache."""


class Compiled(Protocol):
    """What `native.c` offers. Arrays are float32, counts int64, both without gaps; `TypeError` where they are not.

    `ValueError` where there are no values, or where one has no place among the counts.
    """

    def extremes(self, values: Floats, /) -> tuple[float, float, bool]:
        """The least and the largest value, and whether all are finite."""
        ...

    def extend_tails(
        self, values: Floats, lower: Floats, lower_filled: int, upper: Floats, upper_filled: int, /
    ) -> tuple[float, float, bool, int, int]:
        """`extremes`, and to how many values the tails are filled afterwards.

        `lower` and `upper` have room for some of the least and the largest values, of which the first so many are
        known already. Where not all values are finite the tails mean nothing afterwards.
        """
        ...

    def count_runs(
        self, values: Floats, row: int, run: int, stride: int, first: int, factor: float, counts: NDArray[np.int64], /
    ) -> None:
        """Of rows of `row` values, add `stride` to the counts of each value of every `stride`-th run of `run` values.

        The place of a value is trunc(value * factor) - first, in float32.
        """
        ...

    def count_between(
        self, values: Floats, low: float, extent: float, counts: NDArray[np.int64], /
    ) -> tuple[float, float, bool, bool]:
        """`extremes`, and whether 1 was added to the count of each value; if not, nothing was.

        The place of a value is trunc((value - low) / extent * (size - 1)), in float32. Not all may have one.
        """
        ...


def _compiled() -> Compiled | None:
    try:
        return cast(Compiled, import_module("amctc.quant.native"))
    except ImportError:
        return None


COMPILED: Final = _compiled()


def is_compiled_for(values: Floats) -> bool:
    """Whether there is compiled code, and takes such an array: one without gaps."""
    return COMPILED is not None and values.flags.c_contiguous and values.flags.aligned


def extremes(values: Floats, low: np.float32 | None = None, high: np.float32 | None = None) -> tuple[float, float]:
    """The least and the largest of some values, at least one; not both are finite where not all values are.

    `low` and `high` are bounds that hold, where the caller asks for no more: they may be given back as they are.
    """
    if COMPILED is not None and is_compiled_for(values):
        least, most, finite = COMPILED.extremes(values)
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
    if COMPILED is None:
        raise ValueError("there is no compiled code")
    low, high, finite, below, above = COMPILED.extend_tails(values, lower, lower_filled, upper, upper_filled)
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
    if COMPILED is None or not is_compiled_for(samples):
        return False
    row, run = (samples.shape[1], RUN) if stride > 1 else (samples.size, _BLOCK)
    COMPILED.count_runs(samples, row, run, stride, first, float(factor), counts)
    return True


def extremes_and_counts(
    values: Floats, low: np.float32, extent: np.float32, bins: int
) -> tuple[tuple[float, float], NDArray[np.int64] | None]:
    """The `extremes` of values (n,), and their `count_between`, where that costs no second look at them.

    The counts mean nothing where a value lies below `low` or above `low + extent`; often there are none then.
    """
    if COMPILED is None or not is_compiled_for(values):
        return extremes(values), None
    counts = np.zeros(bins + 1, dtype=np.int64)
    least, most, finite, counted = COMPILED.count_between(values, float(low), float(extent), counts)
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
