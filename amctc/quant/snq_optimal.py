"""Clustering in one dimension, exactly: the least squared error that so many centres can have.

Clusters of sorted values are runs, so a clustering is a choice of the runs' ends, and the best one follows by
dynamic programming: `best[j][i] = max over m < i of best[j-1][m] + gain(m, i)`. The error of a run with count W,
sum S and sum of squares Q about a centre c is `Q - (2cS - c²W)`; all Q together do not depend on the runs, so the
gain `2cS - c²W` is what is maximised, and running totals of count and sum give it for any run at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

GRID_LOW, GRID_HIGH = -128, 127
HALF_STEPS = 2 * (GRID_HIGH - GRID_LOW + 1)
"""Cells between multiples of one half on the grid of INT8."""

_LOOK = 4
"""Every so many lengths of runs we look whether longer ones are of use."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Rows of values in ascending order, in cells that a clustering leaves whole.

    `counts` and `sums` are float64 `[rows, cells + 1]`: the running count and sum of the values before each cell.
    A cell may be empty.
    """

    counts: FloatArray
    sums: FloatArray

    def rows(self, which: IntArray, cells: int) -> Cells:
        """Some of the rows, and of them the first `cells` cells."""
        return Cells(self.counts[which, : cells + 1], self.sums[which, : cells + 1])

    def totals(self, edges: IntArray) -> tuple[FloatArray, FloatArray]:
        """Count and sum of each run, `[rows, runs]`, for its ends `edges` `[rows, runs + 1]`."""
        counts, sums = (np.take_along_axis(each, edges, axis=1) for each in (self.counts, self.sums))
        return np.diff(counts, axis=1), np.diff(sums, axis=1)


def half_step_cells(steps: NDArray[np.float64]) -> IntArray:
    """The half step, 0 to 511, in which each value lies; values are in steps of the INT8 grid (any shape)."""
    cells = np.floor(2 * steps).astype(np.intp) - 2 * GRID_LOW
    return np.clip(cells, 0, HALF_STEPS - 1, out=cells)


def optimal_grid_centres(steps: FloatArray, k: int) -> FloatArray:
    """The `k` integers of [-128, 127] with the least squared error for each row of `steps` `[rows, n]`.

    Sorted, float64 `[rows, k]`; one that is not needed repeats another. This is exact. Let any set of integer
    centres be given; each value belongs to the nearest. Where that changes from a to b lies `(a + b) / 2`, a multiple
    of one half, so all values between two neighbouring multiples have the same nearest centre (a value on the multiple
    itself may take either, at the same cost). Hence the best clustering is one of the at most 512 half steps into at
    most k runs. The best integer for a run is the one nearest to its mean, since the error about c is W(c - mean)²
    and a constant. The dynamic programme tries all such runs.
    """
    rows = steps.shape[0]
    flat = (half_step_cells(steps) + np.arange(rows)[:, np.newaxis] * HALF_STEPS).reshape(-1)
    counts = np.bincount(flat, minlength=rows * HALF_STEPS).reshape(rows, HALF_STEPS)
    sums = np.bincount(flat, steps.reshape(-1), minlength=rows * HALF_STEPS).reshape(rows, HALF_STEPS)
    used = counts > 0
    sizes = np.count_nonzero(used, axis=1)
    size = max(int(sizes.max()), k)
    cells = Cells(np.zeros((rows, size + 1)), np.zeros((rows, size + 1)))
    row, half = np.nonzero(used)
    place = (np.cumsum(used, axis=1))[row, half]
    cells.counts[row, place] = counts[row, half]
    cells.sums[row, place] = sums[row, half]
    np.cumsum(cells.counts, axis=1, out=cells.counts)
    np.cumsum(cells.sums, axis=1, out=cells.sums)
    edges = best_edges(cells, sizes, k, on_grid=True)
    return np.clip(np.rint(run_centres(*cells.totals(edges))), GRID_LOW, GRID_HIGH)


def run_centres(counts: FloatArray, sums: FloatArray) -> FloatArray:
    """The mean of each run, `[rows, runs]`; an empty run takes that of the run before it, or of the first."""
    empty = counts <= 0
    means = np.where(empty, -np.inf, sums / np.where(empty, 1, counts))
    np.maximum.accumulate(means, axis=1, out=means)
    first = np.min(means, axis=1, where=np.isfinite(means), initial=np.inf)
    return np.where(np.isfinite(means), means, first[:, np.newaxis])


def best_edges(cells: Cells, sizes: IntArray, k: int, *, on_grid: bool) -> IntArray:
    """The ends of the `k` runs of cells with the least error for each row, `[rows, k + 1]`; k is at least 2.

    `sizes` `[rows]` are the cells that hold values; those behind must be empty, and there are at least k cells. A run's
    centre is its mean, or with `on_grid` the nearest integer of INT8. Time grows with `k * cells²` at most.
    """
    rows = len(sizes)
    good = _good_edges(cells, k)
    edges = np.empty((rows, k + 1), dtype=np.intp)
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < rows:  # rows of about the same number of cells together: padding costs time
        chunk = order[start : start + _rows_at_once(max(int(sizes[order[start]]), k))]
        some = cells.rows(chunk, max(int(sizes[chunk].max()), k))
        edges[chunk] = _partition(_runs(some, good[chunk], on_grid), k)
        start += len(chunk)
    edges[:, k] = cells.counts.shape[1] - 1
    return edges


def _rows_at_once(cells: int) -> int:
    """Rows of that many cells to take together: gains should stay in a cache, and slabs be long; measured."""
    return max(8, (1 << 18) // cells**2, min(96, (1 << 21) // cells**2))


def run_gains(counts: FloatArray, sums: FloatArray, on_grid: bool) -> FloatArray:
    """By how much the best centre of each run lowers its squared error, from that about 0 (any shape)."""
    means = sums / np.maximum(counts, 1)
    if not on_grid:
        return np.multiply(means, sums, out=means)
    centres = np.rint(means, out=means)
    np.clip(centres, GRID_LOW, GRID_HIGH, out=centres)
    return np.asarray(centres * (2 * sums - centres * counts))


@dataclass(frozen=True, eq=False)
class _Runs:
    """What runs of the cells of some rows gain. Rows come last: slabs of many of them are added as they lie in memory.

    `gains[length - 1]` is `[cells - length + 1, rows]`: the gains of the runs of `length` cells by their first cell.
    `apart` `[cells + 1, rows]` is the running gain of the cells alone, which no clustering exceeds; what is missing to
    it is lost. A good clustering loses `allowed` `[rows]` in all.
    """

    gains: list[FloatArray]
    apart: FloatArray
    allowed: FloatArray

    def mirrored(self) -> _Runs:
        return _Runs([gain[::-1] for gain in self.gains], (self.apart[-1] - self.apart)[::-1], self.allowed)


def _runs(cells: Cells, good: IntArray, on_grid: bool) -> _Runs:
    """The runs that can be part of a clustering that is better than the one with the ends `good`.

    A longer run loses no less than its parts do. One that alone loses more than a whole good clustering is no part of
    the best, so lengths end where that holds for all runs.
    """
    counts, sums = np.ascontiguousarray(cells.counts.T), np.ascontiguousarray(cells.sums.T)
    single = run_gains(np.diff(counts, axis=0), np.diff(sums, axis=0), on_grid)
    apart = np.concatenate((np.zeros_like(single[:1]), np.cumsum(single, axis=0)))
    good = np.minimum(good, len(single))
    reached = run_gains(*cells.totals(good), on_grid).sum(axis=1)
    allowed = (apart[-1] - reached) * (1 + 1e-6) + 1e-9 * np.abs(apart[-1])  # far above all rounding
    gains = [single]
    for length in range(2, len(single) - good.shape[1] + 3):
        gain = run_gains(counts[length:] - counts[:-length], sums[length:] - sums[:-length], on_grid)
        if length % _LOOK == 0 and not (apart[length:] - apart[:-length] - gain <= allowed).any():
            break
        gains.append(gain)
    return _Runs(gains, apart, allowed)


def _good_edges(cells: Cells, k: int) -> IntArray:
    """Ends of `k` runs that lose little, found without a search, `[rows, k + 1]`.

    `count * width²` to the power 1/3 adds up to the same in each run, which is best where values are dense. Source:
    Panter and Dite, "Quantization distortion in pulse-count modulation with nonuniform spacing" (1951).
    """
    means = run_centres(*(np.diff(each, axis=1) for each in (cells.counts, cells.sums)))
    gaps = np.diff(means, axis=1)
    widths = np.concatenate((gaps[:, :1], gaps[:, 1:] + gaps[:, :-1], gaps[:, -1:]), axis=1)
    share = np.cumsum(np.cbrt(np.diff(cells.counts, axis=1) * widths**2), axis=1)
    edges = np.zeros((len(means), k + 1), dtype=np.intp)
    edges[:, k] = means.shape[1]
    for j in range(1, k):
        edges[:, j] = np.count_nonzero(share * k < share[:, -1:] * j, axis=1)
    return edges


def _partition(runs: _Runs, k: int) -> IntArray:
    """The ends of exactly `k` runs, none without a cell, that have the largest gain: `[rows, k + 1]`.

    The best first runs are found from the left, the best last ones from the right, so that both stay short.
    """
    cells = len(runs.apart) - 1
    left, right = k // 2, k - k // 2
    span = cells - k + 1
    first, last = _best_prefixes(runs, left, span), _best_prefixes(runs.mirrored(), right, span)
    # Place p of `first` is the end `left + p`; the same end is place `span - 1 - p` of `last`.
    low, high = max(0, span - len(last[-1])), min(len(first[-1]), span)
    whole = first[-1][low:high] + last[-1][span - high : span - low][::-1]
    meeting = left + low + np.argmax(whole, axis=0)
    before = _trace(runs.gains, first, meeting)
    behind = cells - _trace([gain[::-1] for gain in runs.gains], last, cells - meeting)
    return np.concatenate((before, behind[:, -2::-1]), axis=1)


def _best_prefixes(runs: _Runs, k: int, span: int) -> list[FloatArray]:
    """For j from 1 to `k`: `[place, rows]`, the largest gain of j runs, none empty, of the first `j + place` cells.

    There are at most `span` places, and none that loses more than is allowed in every row: losses grow with the end.
    """
    rows = runs.apart.shape[1]
    best: list[FloatArray] = []
    before = np.zeros((1, rows))
    room = np.empty((span, rows))
    for j in range(1, k + 1):
        places = len(before)
        after = np.full((min(span, places - 1 + len(runs.gains)), rows), -np.inf)
        for extra, gain in enumerate(runs.gains[: len(after)]):
            used = min(places, len(after) - extra)
            summed = np.add(gain[j - 1 : j - 1 + used], before[:used], out=room[:used])
            target = after[extra : extra + used]
            np.maximum(target, summed, out=target)
        lost = runs.apart[j : j + len(after)] - after
        within = np.flatnonzero((lost <= runs.allowed).any(axis=1))
        before = after[: int(within[-1]) + 1]
        best.append(before)
    return best


def _trace(gains: list[FloatArray], best: list[FloatArray], end: IntArray) -> IntArray:
    """The ends of the runs that gave `best`'s last gains at `end` `[rows]`: `[rows, runs + 1]`.

    Of each last run the length is sought, from 1 on, whose sum is exactly the gain that was kept: most runs are short.
    """
    edges = np.zeros((len(end), len(best) + 1), dtype=np.intp)
    edges[:, -1] = end
    for j in range(len(best) - 1, 0, -1):
        before, rows = best[j - 1], np.arange(len(end))
        place = edges[:, j + 1] - j - 1
        sought = best[j][place, rows]
        for gain in gains:
            within = place < len(before)
            at = np.minimum(place, len(before) - 1)
            found = within & (gain[at + j, rows] + before[at, rows] == sought)
            edges[rows[found], j] = place[found] + j
            left = ~found
            rows, place, sought = rows[left], place[left] - 1, sought[left]
            if not len(rows):
                break
    return edges


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
