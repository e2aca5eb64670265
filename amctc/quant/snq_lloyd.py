"""Clustering in one dimension by Lloyd's algorithm from given first centres, for many rows at once.

Values are sorted once and equal ones joined; then a step costs each row a binary search for the middles between its
centres, and running sums give the means, whatever the number of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.quant.snq_partition import best_edges
from amctc.quant.snq_runs import Cells, run_centres, run_gains, wide_rows
from amctc.quant.snq_settings import D2SAMPLING, UNIFORM

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_SEED: Final = 20
"""Of d2sampling: the same draws for each row, so that no row depends on those beside it."""

_EXACT_CELLS: Final = 1024
"""Rows of at most so many distinct values are solved exactly: that takes less time than to iterate."""

_PARTS: Final = (8, 11)
"""Into how many parts a rearrangement may divide a cluster, in turn; it ends when none of them helps."""

_IMPROVED: Final = 1e-9
"""The share of the error by which a rearrangement must lower it."""

_ROUNDING: Final = 1e-14
"""The share of the sum of squares below which a gain is rounding."""


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Rows of values in ascending order, each value once.

    `values` float64 `[rows, n]`; a row with fewer than n distinct values repeats its last one. `cells` are the single
    values, so a repeated one is an empty cell. `distinct` `[rows]` counts those of each row.
    """

    values: FloatArray
    cells: Cells
    distinct: IntArray

    @staticmethod
    def joined(parts: Sequence[SortedRows]) -> SortedRows:
        """The rows of all parts, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        width = max(part.values.shape[1] for part in parts)
        values = wide_rows([part.values for part in parts], width)
        cells = Cells.joined([part.cells for part in parts])
        return SortedRows(values, cells, np.concatenate([part.distinct for part in parts]))

    def rows(self, which: IntArray) -> SortedRows:
        """Some of the rows, no wider than they need."""
        if len(which) == len(self.distinct):  # all of them, in their order: no copy of what may be large
            return self
        distinct = self.distinct[which]
        width = int(distinct.max())
        return SortedRows(self.values[which, :width], self.cells.rows(which, width), distinct)


def sort_rows(values: FloatArray) -> SortedRows:
    """The rows of finite `values` `[rows, n]`, n at least 1, ready for clustering."""
    rows, width = values.shape
    ordered = np.sort(values, axis=1)
    new = np.ones(ordered.shape, dtype=np.bool_)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
    distinct = np.count_nonzero(new, axis=1)
    if int(distinct.min()) < width:
        at = np.flatnonzero(new)
        times = np.diff(at, append=rows * width)
        single = ordered.reshape(-1)[at]
        width = int(distinct.max())
        ordered = np.repeat(ordered[:, -1:], width, axis=1)
        place = np.arange(width) < distinct[:, np.newaxis]
        ordered[place] = single
        counts = np.zeros((rows, width + 1))
        counts[:, 1:][place] = times
    else:
        counts = np.ones((rows, width + 1))
        counts[:, 0] = 0
    sums = np.zeros((rows, width + 1))
    np.cumsum(ordered * counts[:, 1:], axis=1, out=sums[:, 1:])
    np.cumsum(counts, axis=1, out=counts)
    return SortedRows(ordered, Cells(counts, sums), distinct)


def first_centres(rows: SortedRows, algorithm: str, k: int) -> FloatArray:
    """The `k` centres of each row that the iteration starts from, `[rows, k]`, ascending.

    `uniform`: evenly from the smallest value to the largest. `gaussian`: at the middles of k equal shares of the normal
    distribution with the row's mean and deviation. `d2sampling`: k-means++, each next centre drawn with a probability
    that grows with the squared distance to those before; the draws are always the same.
    """
    if algorithm == D2SAMPLING:
        return _d2sampling(rows, k)
    if algorithm == UNIFORM:
        low, high = rows.values[:, :1], rows.values[:, -1:]
        return np.asarray(low + (high - low) * (np.arange(k) / (k - 1)))
    total = rows.cells.counts[:, -1:]
    mean = rows.cells.sums[:, -1:] / total
    spread = np.sum(np.diff(rows.cells.counts, axis=1) * (rows.values - mean) ** 2, axis=1, keepdims=True) / total
    normal = NormalDist()
    shares = np.array([normal.inv_cdf((j + 0.5) / k) for j in range(k)])
    return np.asarray(mean + np.sqrt(spread) * shares)


def _d2sampling(rows: SortedRows, k: int) -> FloatArray:
    """Source: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding" (2007)."""
    draws = np.random.Generator(np.random.PCG64(_SEED)).random(k)
    weights = np.diff(rows.cells.counts, axis=1)
    every = np.arange(len(weights))
    chance = weights
    nearest = np.full(weights.shape, np.inf)
    centres = np.empty((len(weights), k))
    for j, draw in enumerate(draws):
        reached = np.cumsum(chance, axis=1)
        drawn = np.count_nonzero(reached <= draw * reached[:, -1:], axis=1)
        centres[:, j] = rows.values[every, np.minimum(drawn, rows.distinct - 1)]
        np.minimum(nearest, (rows.values - centres[:, j : j + 1]) ** 2, out=nearest)
        chance = weights * nearest
    centres.sort(axis=1)
    return centres


def cluster_rows(rows: SortedRows, algorithm: str, k: int, max_iteration: int, min_distance: float) -> FloatArray:
    """The `k` real centres of each row that the iteration ends with, `[rows, k]`, ascending.

    Lloyd's algorithm alone may end far from the best clustering, according to where it starts. So where it stands
    still, that is, no centre moves by `min_distance`, the ends of its clusters are rearranged (`_rearranged`) and it
    goes on, until that gains nothing or `max_iteration` steps are done. A row of so few distinct values that the best
    clustering costs less than iterating gets that one, wherever it starts.
    """
    centres = np.empty((len(rows.distinct), k))
    few = np.flatnonzero(rows.distinct <= _EXACT_CELLS)
    many = np.flatnonzero(rows.distinct > _EXACT_CELLS)
    if len(few):
        some = rows.rows(few)
        centres[few] = _exact(some, k)
    if len(many):
        some = rows.rows(many)
        centres[many] = _iterate(some, first_centres(some, algorithm, k), max_iteration, min_distance)
    return centres


def _exact(rows: SortedRows, k: int) -> FloatArray:
    cells = rows.cells.at_least(k)
    return run_centres(*cells.totals(best_edges(cells, rows.distinct, k, on_grid=False)))


def _iterate(rows: SortedRows, centres: FloatArray, max_iteration: int, min_distance: float) -> FloatArray:
    centres = centres.copy()
    steps = np.zeros(len(centres), dtype=np.intp)
    fruitless = np.zeros(len(centres), dtype=np.intp)
    squares = np.sum(np.diff(rows.cells.counts, axis=1) * rows.values**2, axis=1)
    active = np.arange(len(centres))
    for parts in cycle(_PARTS):
        some = rows.rows(active)
        found, taken = _lloyd(some, centres[active], max_iteration - steps[active], min_distance)
        centres[active] = found
        steps[active] += taken
        edges = _edges(some, np.arange(len(active)), found)
        better = _rearranged(some, edges, parts)
        totals = [some.cells.totals(each) for each in (edges, better)]
        before, after = (run_gains(*each, on_grid=False).sum(axis=1) for each in totals)
        gained = after - before > _IMPROVED * (squares[active] - before) + _ROUNDING * squares[active]
        centres[active[gained]] = run_centres(*totals[1])[gained]
        fruitless[active] = np.where(gained, 0, fruitless[active] + 1)
        active = active[(fruitless[active] < len(_PARTS)) & (steps[active] < max_iteration)]
        if not len(active):
            break
    return centres


def _lloyd(rows: SortedRows, centres: FloatArray, budget: IntArray, min_distance: float) -> tuple[FloatArray, IntArray]:
    """Centres of which none moves by `min_distance` any more, or `budget` `[rows]` steps on; and the steps taken.

    A centre without values stays where it is.
    """
    centres = centres.copy()
    steps = np.zeros(len(centres), dtype=np.intp)
    active = np.arange(len(centres))
    while len(active):
        before = centres[active]
        edges = _edges(rows, active, before)
        counts, sums = (
            np.diff(each[active[:, np.newaxis], edges], axis=1) for each in (rows.cells.counts, rows.cells.sums)
        )
        after = np.where(counts > 0, sums / np.maximum(counts, 1), before)
        centres[active] = after
        steps[active] += 1
        moved = np.abs(after - before).max(axis=1)
        active = active[(moved >= min_distance) & (steps[active] < budget[active])]
    return centres, steps


def _edges(rows: SortedRows, which: IntArray, centres: FloatArray) -> IntArray:
    """The ends of the clusters of the rows `which`, `[len(which), k + 1]`; a value in the middle is the lower one's."""
    edges = np.zeros((len(which), centres.shape[1] + 1), dtype=np.intp)
    edges[:, -1] = rows.values.shape[1]
    edges[:, 1:-1] = _count_up_to(rows, which, (centres[:, 1:] + centres[:, :-1]) / 2)
    return edges


def _count_up_to(rows: SortedRows, which: IntArray, bounds: FloatArray) -> IntArray:
    """How many places of each row `which` hold a value of at most the bound, `[len(which), bounds]`."""
    width = rows.values.shape[1]
    flat, start = rows.values.reshape(-1), which[:, np.newaxis] * width
    found = np.zeros(bounds.shape, dtype=np.intp)
    step = 1 << (width.bit_length() - 1)
    while step:
        tried = found + step
        fits = (tried <= width) & (flat[start + np.minimum(tried, width) - 1] <= bounds)
        found = np.where(fits, tried, found)
        step >>= 1
    return found


def _rearranged(rows: SortedRows, edges: IntArray, parts: int) -> IntArray:
    """The best clustering whose ends are among few candidates, the present ends among them: `[rows, k + 1]`.

    Candidates are the present ends, the places beside them, and places that divide each cluster into equal numbers of
    values. So clusters may be joined in one place and divided in another, and all ends shift together, which Lloyd's
    algorithm cannot do.
    """
    inside = edges[:, :-1, np.newaxis] + np.diff(edges, axis=1)[:, :, np.newaxis] * np.arange(1, parts) // parts
    beside = edges[:, 1:-1, np.newaxis] + np.array([-1, 1])
    candidates = np.concatenate((edges, beside.reshape(len(edges), -1), inside.reshape(len(edges), -1)), axis=1)
    np.clip(candidates, 0, rows.distinct[:, np.newaxis], out=candidates)
    candidates.sort(axis=1)
    again = candidates[:, 1:] == candidates[:, :-1]
    candidates[:, 1:][again] = rows.values.shape[1]  # empty cells, which go behind the others
    candidates.sort(axis=1)
    every = np.arange(len(edges))[:, np.newaxis]
    cells = Cells(rows.cells.counts[every, candidates], rows.cells.sums[every, candidates])
    sizes = candidates.shape[1] - 1 - np.count_nonzero(again, axis=1)
    return candidates[every, best_edges(cells, sizes, edges.shape[1] - 1, on_grid=False)]
