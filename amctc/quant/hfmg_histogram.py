"""The histogram of HFMG: equally wide bins from the smallest value seen to the largest, in AMCT's float32 arithmetic.

A batch that widens the range is counted on the wider one, and what was counted before is counted anew as if its
values were spread evenly inside their bins: a bin across an edge is split, and the part below the edge is truncated
to a whole number. No value is lost, but the split ones may land a bin off, and the counts depend on the order in
which the range grew. `amctc.quant.histogram` has neither fault; this one is for AMCT's figures. Source: AMCT's
`hfmg`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.quant import scan
from amctc.quant.grid import FLT_EPSILON
from amctc.quant.scan import count_between, extremes


@dataclass(frozen=True, eq=False)
class RangeHistogram:
    """Counts (bins,) int64 of values in equally wide bins between `low` and `high`; `bins` is a power of two.

    `high - low` is finite in float32. The last bin holds `high` too.
    """

    low: np.float32
    high: np.float32
    counts: NDArray[np.int64]

    @property
    def width(self) -> np.float32:
        """The width of a bin; 0 where all values are the same."""
        return np.float32((self.high - self.low) / np.float32(self.counts.size))

    def edge(self, numbers: NDArray[np.integer]) -> NDArray[np.float32]:
        """The lower edges of the bins of these numbers, of the same shape."""
        return np.asarray(self.low + numbers.astype(np.float32) * self.width)


def count_values(values: NDArray[np.float32], low: np.float32, high: np.float32, bins: int) -> NDArray[np.int64]:
    """Count finite `values` (one axis) from `low` to `high` into `bins` bins, as `torch.histc` does on a CPU.

    The bin of x is `trunc((x - low) * bins / (high - low))` in float32, and `high` goes to the last one. Where `low` is
    `high` all go to the middle bin. Source: PyTorch's histogram kernel.
    """
    extent = high - low
    if not extent:
        counts = np.zeros(bins, dtype=np.int64)
        counts[bins // 2] = values.size
        return counts
    return _joined(count_between(values, low, extent, bins))


def extremes_and_counts(
    values: NDArray[np.float32], low: np.float32, high: np.float32, bins: int
) -> tuple[tuple[float, float], NDArray[np.int64] | None]:
    """The least and the largest of values (one axis), and `count_values`, where that costs no second look at them.

    The counts mean nothing if the values reach beyond `low` or `high`, and the extremes are NaN if not all are finite.
    """
    if low == high:
        return extremes(values), None
    ends, counts = scan.extremes_and_counts(values, low, high - low, bins)
    return ends, None if counts is None else _joined(counts)


def _joined(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last bin holds the upper end too, which was counted in one of its own."""
    counts[-2] += counts[-1]
    return counts[:-1]


def counts_on(histogram: RangeHistogram, low: np.float32, high: np.float32) -> NDArray[np.int64]:
    """The counts of `histogram` on a range from `low` to `high` that holds its own, in as many bins.

    Ranges whose ends differ by no more than FLT_EPSILON are the same. A part is never negative or more than the
    whole: float32 edges can say so where a range is much narrower than its distance from 0.
    """
    counts, bins = histogram.counts, histogram.counts.size
    if _same(low, histogram.low) and _same(high, histogram.high):
        return counts
    wider = RangeHistogram(low, high, counts)
    numbers = np.arange(bins + 1)
    edges = histogram.edge(numbers)
    places = np.minimum(np.floor_divide(edges - low, wider.width).astype(np.intp), bins - 1)
    lower, upper = places[:-1], places[1:]
    starts, ends = edges[:-1], edges[1:]
    split = (lower != upper) & (starts < ends)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        part = counts.astype(np.float32) * ((wider.edge(lower + 1) - starts) / (ends - starts))
    # Compared in float64, where an Inf has its place.
    whole = counts.astype(np.float64)
    kept = np.where(split, np.clip(np.trunc(np.where(split, part, 0)), 0, whole), whole).astype(np.int64)
    result = np.zeros(bins, dtype=np.int64)
    np.add.at(result, lower, kept)
    np.add.at(result, upper, counts - kept)
    return result


def _same(one: np.float32, other: np.float32) -> bool:
    return math.isclose(float(one), float(other), abs_tol=float(FLT_EPSILON))
