"""The best division of sorted values into runs, exactly, for many rows at once.

Clusters of sorted values are runs, so a clustering is a choice of the runs' ends, and the best one follows by
dynamic programming: `best[j][i] = max over m < i of best[j-1][m] + gain(m, i)`. The error of a run with count W,
sum S and sum of squares Q about a centre c is `Q - (2cS - c²W)`; all Q together do not depend on the runs, so the
gain `2cS - c²W` is what is maximised, and running totals of count and sum give it for any run at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

GRID_LOW, GRID_HIGH = -128, 127

_LOOK = 4
"""Every so many lengths of runs we look whether longer ones are of use; even."""


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

    def at_least(self, cells: int) -> Cells:
        """The same with so many cells, of which those that are new are empty."""
        missing = cells + 1 - self.counts.shape[1]
        if missing <= 0:
            return self
        return Cells(*(np.pad(each, ((0, 0), (0, missing)), mode="edge") for each in (self.counts, self.sums)))

    @staticmethod
    def joined(parts: Sequence[Cells]) -> Cells:
        """The rows of all parts, one behind the other; those with fewer cells get empty ones."""
        width = max(part.counts.shape[1] for part in parts)
        counts = wide_rows([part.counts for part in parts], width)
        return Cells(counts, wide_rows([part.sums for part in parts], width))

    def mirrored(self) -> Cells:
        """The cells from the last to the first, as if all values had the other sign but the sums did not."""
        return Cells(*(np.subtract(each[:, -1:], each)[:, ::-1].copy() for each in (self.counts, self.sums)))

    def totals(self, edges: IntArray) -> tuple[FloatArray, FloatArray]:
        """Count and sum of each run, `[rows, runs]`, for its ends `edges` `[rows, runs + 1]`."""
        counts, sums = (np.take_along_axis(each, edges, axis=1) for each in (self.counts, self.sums))
        return np.diff(counts, axis=1), np.diff(sums, axis=1)


def wide_rows(parts: Sequence[FloatArray], width: int) -> FloatArray:
    """The rows of all parts as `[rows, width]`, each of which repeats its last number."""
    found = np.empty((sum(map(len, parts)), width))
    start = 0
    for part in parts:
        rows, own = part.shape
        found[start : start + rows, :own] = part
        found[start : start + rows, own:] = part[:, -1:]
        start += rows
    return found


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
    good, rough = _good_edges(cells, k, _fewer(k))
    edges = np.empty((rows, k + 1), dtype=np.intp)
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < rows:  # rows of about the same number of cells together: padding costs time
        chunk = order[start : start + _rows_at_once(max(int(sizes[order[start]]), k))]
        some = cells.rows(chunk, max(int(sizes[chunk].max()), k))
        edges[chunk] = _partition(some, _runs(some, good[chunk], rough[chunk], on_grid), k, on_grid)
        start += len(chunk)
    edges[:, k] = cells.counts.shape[1] - 1
    return edges


def _fewer(k: int) -> int:
    """A number of runs below `k`, of which the error bounds what one run more can gain: see `_runs`."""
    return k - (k + 2) // 3


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

    `gains[length - 1]` is `[cells - length + 1, rows]`: the gains of the runs of `length` cells by their first cell. Of
    these, the ones from `starts[length - 1][0]` to before `starts[length - 1][1]` may be of use.
    `apart` `[cells + 1, rows]` is the running gain of the cells alone, which no clustering exceeds; what is missing to
    it is lost. A good clustering loses `allowed` `[rows]` in all.
    """

    gains: list[FloatArray]
    starts: list[tuple[int, int]]
    apart: FloatArray
    allowed: FloatArray

    def mirrored(self) -> _Runs:
        gains = [gain[::-1] for gain in self.gains]
        starts = [(len(gain) - high, len(gain) - low) for gain, (low, high) in zip(gains, self.starts, strict=True)]
        return _Runs(gains, starts, (self.apart[-1] - self.apart)[::-1], self.allowed)


def _runs(cells: Cells, good: IntArray, rough: IntArray, on_grid: bool) -> _Runs:
    """The runs that can be part of a clustering that is better than the one with the ends `good`.

    A longer run loses no less than its parts do. One that alone loses more than a whole good clustering is no part of
    the best. Nor is one that gains more by being divided than one run more can gain at all: each run more gains no
    more than the one before it, so that is at most what fewer runs, with the ends `rough`, lose, shared among those
    that they lack. Both hold for longer runs too, so lengths end where one of them holds for all runs.
    """
    counts, sums = np.ascontiguousarray(cells.counts.T), np.ascontiguousarray(cells.sums.T)
    single = run_gains(np.diff(counts, axis=0), np.diff(sums, axis=0), on_grid)
    apart = np.concatenate((np.zeros_like(single[:1]), np.cumsum(single, axis=0)))
    k, fewer = good.shape[1] - 1, rough.shape[1] - 1
    lost = [
        apart[-1] - run_gains(*cells.totals(np.minimum(each, len(single))), on_grid).sum(axis=1)
        for each in (good, rough)
    ]
    rounding = 1e-9 * np.abs(apart[-1])  # far above all of it
    allowed = lost[0] * (1 + 1e-6) + rounding
    price = lost[1] * (1 + 1e-6) / (k - fewer) + rounding
    gains = [single]
    low, high = 0, len(single)
    starts = [(low, high)]
    for length in range(2, len(single) - k + 2):
        gain = run_gains(counts[length:] - counts[:-length], sums[length:] - sums[:-length], on_grid)
        if length % _LOOK == 0:
            halves = gains[length // 2 - 1]
            divided = halves[: len(gain)] + halves[length // 2 :] - gain <= price
            useful = np.flatnonzero((divided & (apart[length:] - apart[:-length] - gain <= allowed)).any(axis=1))
            if not len(useful):
                break
            low, high = int(useful[0]), int(useful[-1]) + 1
        gains.append(gain)
        starts.append((low, min(high, len(gain))))
    return _Runs(gains, starts, apart, allowed)


def _good_edges(cells: Cells, *numbers: int) -> list[IntArray]:
    """Ends of runs that lose little, found without a search; for each number k of runs `[rows, k + 1]`.

    `count * width²` to the power 1/3 adds up to the same in each run, which is best where values are dense. Source:
    Panter and Dite, "Quantization distortion in pulse-count modulation with nonuniform spacing" (1951).
    """
    counts = np.diff(cells.counts, axis=1)
    means = run_centres(counts, np.diff(cells.sums, axis=1))
    rows, size = means.shape
    gaps = np.diff(means, axis=1)
    widths = np.concatenate((gaps[:, :1], gaps[:, 1:] + gaps[:, :-1], gaps[:, -1:]), axis=1)
    share = np.cumsum(np.cbrt(counts * widths**2), axis=1)
    share /= np.maximum(share[:, -1:], np.finfo(np.float64).tiny)
    # With its number added to each row, all rows are one ascending sequence, and one search does for all.
    every = np.arange(rows)[:, np.newaxis]
    flat = (share + every).reshape(-1)
    found: list[IntArray] = []
    for k in numbers:
        edges = np.searchsorted(flat, every + np.arange(k + 1) / k) - every * size
        edges[:, 0], edges[:, k] = 0, size
        found.append(np.clip(edges, 0, size))
    return found


def _partition(cells: Cells, runs: _Runs, k: int, on_grid: bool) -> IntArray:
    """The ends of exactly `k` runs, none without a cell, that have the largest gain: `[rows, k + 1]`.

    The best first runs are found from the left, the best last ones from the right, so that both stay short.
    """
    size = len(runs.apart) - 1
    left, right = k // 2, k - k // 2
    span = size - k + 1
    first, last = _best_prefixes(runs, left, span), _best_prefixes(runs.mirrored(), right, span)
    # Place p of `first` is the end `left + p`; the same end is place `span - 1 - p` of `last`.
    low, high = max(0, span - len(last[-1])), min(len(first[-1]), span)
    whole = first[-1][low:high] + last[-1][span - high : span - low][::-1]
    meeting = left + low + np.argmax(whole, axis=0)
    longest = len(runs.gains)
    before = _trace(cells, first, meeting, longest, on_grid)
    behind = size - _trace(cells.mirrored(), last, size - meeting, longest, on_grid)
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
        for extra, (gain, (low, high)) in enumerate(zip(runs.gains, runs.starts, strict=True)):
            start, stop = max(0, low - j + 1), min(places, len(after) - extra, high - j + 1)
            if start >= stop:
                continue
            summed = np.add(gain[j - 1 + start : j - 1 + stop], before[start:stop], out=room[: stop - start])
            target = after[extra + start : extra + stop]
            np.maximum(target, summed, out=target)
        lost = runs.apart[j : j + len(after)] - after
        within = np.flatnonzero((lost <= runs.allowed).any(axis=1))
        before = after[: int(within[-1]) + 1]
        best.append(before)
    return best


def _trace(cells: Cells, best: list[FloatArray], end: IntArray, longest: int, on_grid: bool) -> IntArray:
    """The ends of the runs that gave `best`'s last gains at `end` `[rows]`: `[rows, runs + 1]`.

    What each last run of at most `longest` cells gains is computed anew: to look it up takes longer.
    """
    every = np.arange(len(end))[:, np.newaxis]
    edges = np.zeros((len(end), len(best) + 1), dtype=np.intp)
    edges[:, -1] = end
    lengths = np.arange(1, longest + 1)
    start_of_row = every * cells.counts.shape[1]
    counts, sums = cells.counts.reshape(-1), cells.sums.reshape(-1)
    for j in range(len(best) - 1, 0, -1):
        ends = edges[:, j + 1 : j + 2]
        starts = ends - lengths
        place = starts - j
        within = (place >= 0) & (place < len(best[j - 1]))
        at, stop = np.maximum(starts, 0) + start_of_row, ends + start_of_row
        gain = run_gains(counts.take(stop) - counts.take(at), sums.take(stop) - sums.take(at), on_grid)
        gain += best[j - 1].take(np.clip(place, 0, len(best[j - 1]) - 1) * len(end) + every)
        gain[~within] = -np.inf
        edges[:, j] = starts[every[:, 0], gain.argmax(axis=1)]
    return edges
