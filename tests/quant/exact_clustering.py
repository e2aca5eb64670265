"""The best clustering of one row of values by another way than the program's, to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def optimal_centres(values: NDArray[np.floating], k: int) -> FloatArray:
    """At most `k` real centres with the least squared error for `values` (any shape, finite), sorted, float64.

    Exact, by divide and conquer over the sorted distinct values: the best start of the last run never moves down as
    its end moves up, because the costs fulfil the quadrangle inequality. Time grows with `k n log n`. Source: Wu,
    "Optimal quantization by matrix searching" (1991).
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    if len(distinct) <= k:
        return distinct
    # Sums about the middle of the data lose the fewest digits.
    middle = float(np.average(distinct, weights=counts))
    totals = np.concatenate(([0], np.cumsum(counts, dtype=np.float64)))
    sums = np.concatenate(([0], np.cumsum((distinct - middle) * counts)))
    size = len(distinct)
    best = np.full(size + 1, -np.inf)
    best[0] = 0
    starts = np.zeros((k + 1, size + 1), dtype=np.intp)
    for j in range(1, k + 1):
        best, starts[j] = _next_run(best, totals, sums)
    edges = [size]
    for j in range(k, 0, -1):
        edges.append(int(starts[j, edges[-1]]))
    ends = np.array(edges[::-1])
    return np.asarray(np.diff(sums[ends]) / np.diff(totals[ends]) + middle)


def _next_run(best: FloatArray, totals: FloatArray, sums: FloatArray) -> tuple[FloatArray, IntArray]:
    """The best gains with one run more, for each end, and where that run starts.

    All ends of one depth of the recursion are treated at once: first the middle one, then the middles of both
    halves, and so on; each is searched only between the starts found for its neighbours.
    """
    size = len(best) - 1
    found = np.full(size + 1, -np.inf)
    starts = np.zeros(size + 1, dtype=np.intp)
    low, high = np.array([1]), np.array([size])  # ends still to find, in ranges
    from_, to = np.array([0]), np.array([size - 1])  # starts that may be best for them
    while len(low):
        middle = (low + high) // 2
        lengths = np.minimum(to, middle - 1) - from_ + 1
        offsets = np.cumsum(lengths) - lengths
        which = np.repeat(np.arange(len(middle)), lengths)
        tried = np.arange(int(lengths.sum())) - np.repeat(offsets - from_, lengths)
        ends = middle[which]
        run = sums[ends] - sums[tried]
        gain = best[tried] + run * run / (totals[ends] - totals[tried])
        most = np.maximum.reduceat(gain, offsets)
        at = np.flatnonzero(gain == most[which])
        _, first = np.unique(which[at], return_index=True)
        chosen = tried[at[first]]
        found[middle], starts[middle] = most, chosen
        low, high = np.concatenate((low, middle + 1)), np.concatenate((middle - 1, high))
        from_, to = np.concatenate((from_, chosen)), np.concatenate((chosen, to))
        open_ = low <= high
        low, high, from_, to = low[open_], high[open_], from_[open_], to[open_]
    return found, starts
