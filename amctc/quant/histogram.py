"""A histogram of a stream whose bins are powers of two wide, so that it does not depend on the order of the
data.

Bin `i` holds the values with `trunc(x / 2**exponent) == i`; both operations are exact in float32, so bin 0
is twice as wide as the others and lies around 0. The exponent is the least one at which the largest
magnitude seen has a bin number under `bins`. When a larger value comes, bins merge in pairs, `i` going to
`trunc(i / 2)`, which is where the wider division would have put every value in them: the final counts are
those of all data at the final width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.quant.scan import count_runs, runs

TOGETHER = 1 << 15
"""Values that are best counted at once: large against the histogram, small enough for the cache."""

# Values whose bins would be narrower share bin 0: no legal scale is anywhere near 2**-64, and 2**-exponent
# stays finite.
_LEAST_MAGNITUDE_EXPONENT = -64


@dataclass(frozen=True, eq=False)
class Density:
    """Values spread evenly inside bins: `counts` (n,) int64, `edges` (n + 1,) float64 in rising order.

    The outer edges are the smallest and the largest value, the others are equally far apart.
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


class Histogram:
    """Counts of float32 values in `2 * bins - 1` bins, at most 2**15; only the used sides of 0 take memory.

    Up to `together` values wait to be counted at once, in two bytes each.
    """

    def __init__(self, bins: int, together: int = TOGETHER) -> None:
        self.bins = bins
        self._together = together
        self.minimum = math.inf
        self.maximum = -math.inf
        self._exponent = _LEAST_MAGNITUDE_EXPONENT - bins.bit_length() + 1
        self._first = 0
        self._counts = np.zeros(1, dtype=np.int64)
        # The bins of values that wait to be counted together, and how many each of them counts.
        self._waiting = np.empty(0, dtype=np.int16)
        self._filled = 0
        self._weight = 1

    @property
    def nbytes(self) -> int:
        """Bytes that the counts take, and the bins that wait to be counted."""
        return self._counts.nbytes + self._waiting.nbytes

    def add(self, samples: NDArray[np.float32], low: float, high: float, stride: int = 1) -> None:
        """Count every `stride`-th run of each of finite samples (n, values) as `stride` runs, from the first on.

        They stand for a stretch of the stream that spans `low` to `high`, which the histogram then covers.
        """
        self._cover(low, high)
        factor = np.float32(math.ldexp(1.0, -self._exponent))
        if not count_runs(samples, stride, self._first, factor, self._counts):
            self._wait(runs(samples, stride), factor, stride)

    def _wait(self, values: NDArray[np.float32], factor: np.float32, weight: int) -> None:
        """Let values (of any shape) wait until many are counted at once; each counts `weight`."""
        if weight != self._weight or self._filled + values.size > self._together:
            self._count_waiting()
            self._weight = weight
        if values.size > self._together:
            flat = values.reshape(-1)
            for start in range(0, flat.size, self._together):
                self._count(np.multiply(flat[start : start + self._together], factor).astype(np.intp))  # truncates
            return
        if not self._waiting.size:
            self._waiting = np.empty(self._together, dtype=np.int16)
        end = self._filled + values.size
        self._waiting[self._filled : end].reshape(values.shape)[...] = np.multiply(values, factor)  # truncates
        self._filled = end

    def merge(self, other: Histogram) -> None:
        """Take in the counts of `other`, which has as many bins and is left as it is."""
        if other.minimum > other.maximum:
            return
        other._count_waiting()
        self._cover(other.minimum, other.maximum)
        first, counts = _merge_pairs(other._first, other._counts, self._exponent - other._exponent)
        used = np.flatnonzero(counts)
        counts = counts[used[0] : used[-1] + 1]
        start = first + int(used[0]) - self._first
        self._counts[start : start + counts.size] += counts

    def density(self, lowest: NDArray[np.float32], highest: NDArray[np.float32]) -> Density:
        """The stretch of the histogram from the smallest to the largest value.

        `lowest` and `highest` are the most extreme values of the stream, in rising order. They replace the
        counts of the bins that they fill alone, so that these are right even if only part of the stream was
        counted.
        """
        self._count_waiting()
        width = math.ldexp(1.0, self._exponent)
        counts = self._counts.copy()
        below = np.trunc(lowest / width).astype(np.int64) - self._first
        counts[: below[-1]] = 0
        np.add.at(counts, below[below < below[-1]], 1)
        above = np.trunc(highest / width).astype(np.int64) - self._first
        counts[above[0] + 1 :] = 0
        np.add.at(counts, above[above > above[0]], 1)
        counts = counts[below[0] : above[-1] + 1]
        first, last = int(below[0]) + self._first, int(above[-1]) + self._first
        if first < 0 < last:  # bin 0 is cut at 0, so that all are equally wide
            middle = counts[-first] // 2
            counts = np.concatenate((counts[:-first], [middle, counts[-first] - middle], counts[1 - first :]))
        # Bin i is [i, i + 1) above 0 and (i - 1, i] below.
        edges = (np.arange(counts.size + 1, dtype=np.float64) + (first - 1 if first < 0 else first)) * width
        edges[0], edges[-1] = self.minimum, self.maximum
        return Density(counts, edges)

    @property
    def width(self) -> float:
        """The width of a bin; that of bin 0, on either side of 0."""
        return math.ldexp(1.0, self._exponent)

    def counts(self) -> NDArray[np.int64]:
        """A copy of all counts, none if nothing was seen; they are as many as the range of values asks for."""
        self._count_waiting()
        return self._counts.copy() if self.minimum <= self.maximum else np.zeros(0, np.int64)

    @classmethod
    def holding(cls, counts: NDArray[np.int64], low: float, high: float, bins: int) -> Histogram:
        """The histogram whose values span `low` to `high` and whose `counts()` are these.

        `ValueError` if there can be none, or if no value was counted.
        """
        histogram = cls(bins)
        histogram._cover(low, high)
        first, last = (math.trunc(end / histogram.width) - histogram._first for end in (low, high))
        if counts.size != histogram._counts.size or counts.min() < 0:
            raise ValueError("`counts` has not the bins that its range asks for")
        inside = counts[first : last + 1]
        if not 0 < inside.sum(dtype=np.float64) < 1 << 53 or np.count_nonzero(inside) != np.count_nonzero(counts):
            raise ValueError("`counts` counts no values, or values outside their range")
        histogram._counts[:] = counts
        return histogram

    def _count_waiting(self) -> None:
        if self._filled:
            self._count(self._waiting[: self._filled].astype(np.intp))
            self._filled = 0

    def _count(self, numbers: NDArray[np.intp]) -> None:
        """Count the values of bins of these numbers, of the type that `bincount` takes as it is; they are changed."""
        if self._first:
            np.subtract(numbers, self._first, out=numbers)
        counts = np.bincount(numbers)
        if self._weight > 1:
            np.multiply(counts, self._weight, out=counts)
        self._counts[: counts.size] += counts

    def _cover(self, low: float, high: float) -> None:
        """Make room for values from `low` to `high`: widen the bins, and take on the sides that are used."""
        if self.minimum <= low and high <= self.maximum:
            return
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        magnitude = max(-self.minimum, self.maximum)
        power = max(math.frexp(magnitude)[1], _LEAST_MAGNITUDE_EXPONENT) if magnitude else _LEAST_MAGNITUDE_EXPONENT
        exponent = power - self.bins.bit_length() + 1
        first = -(self.bins - 1) if self.minimum < 0 else 0
        size = -first + (self.bins if self.maximum > 0 else 1)
        if (exponent, first, size) == (self._exponent, self._first, self._counts.size):
            return
        self._count_waiting()
        old_first, old = _merge_pairs(self._first, self._counts, exponent - self._exponent)
        self._counts = np.zeros(size, dtype=np.int64)
        self._counts[old_first - first : old_first - first + old.size] = old
        self._first, self._exponent = first, exponent


def _merge_pairs(first: int, counts: NDArray[np.int64], times: int) -> tuple[int, NDArray[np.int64]]:
    """Counts of bins `first`, `first + 1`, … after every bin number was halved towards 0 `times` times."""
    if not times:
        return first, counts
    shift = min(times, 62)
    numbers = np.arange(first, first + counts.size)
    targets = np.sign(numbers) * (np.abs(numbers) >> shift)
    merged = np.zeros(int(targets[-1] - targets[0]) + 1, dtype=np.int64)
    np.add.at(merged, targets - targets[0], counts)
    return int(targets[0]), merged
