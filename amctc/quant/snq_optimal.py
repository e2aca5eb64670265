"""Clustering in one dimension, exactly: the least squared error that so many centres can have.

Both ways here go over the runs of sorted values: see `snq_partition`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.quant.snq_partition import best_edges
from amctc.quant.snq_runs import GRID_HIGH, GRID_LOW, Cells, FloatArray, IntArray, run_centres

HALF_STEPS: Final = 2 * (GRID_HIGH - GRID_LOW + 1)
"""Cells between multiples of one half on the grid of INT8."""


def half_step_cells(steps: NDArray[np.float64]) -> IntArray:
    """The half step, 0 to 511, in which each value lies; values are in steps of the INT8 grid (any shape)."""
    cells = np.floor(2 * steps).astype(np.intp) - 2 * GRID_LOW
    return np.clip(cells, 0, HALF_STEPS - 1, out=cells)


@dataclass(frozen=True, eq=False)
class GridRows:
    """Rows of values in the half steps in which they lie: `cells`, of which the first `sizes` `[rows]` hold some."""

    cells: Cells
    sizes: IntArray

    @staticmethod
    def joined(parts: Sequence[GridRows]) -> GridRows:
        """The rows of all parts, one behind the other."""
        cells = Cells.joined([part.cells for part in parts])
        return GridRows(cells, np.concatenate([part.sizes for part in parts]))


def grid_rows(steps: FloatArray) -> GridRows:
    """Rows of values in steps of the INT8 grid `[rows, n]`, ready for `optimal_grid_centres`."""
    rows = steps.shape[0]
    flat = (half_step_cells(steps) + np.arange(rows)[:, np.newaxis] * HALF_STEPS).reshape(-1)
    counts = np.bincount(flat, minlength=rows * HALF_STEPS).reshape(rows, HALF_STEPS)
    sums = np.bincount(flat, steps.reshape(-1), minlength=rows * HALF_STEPS).reshape(rows, HALF_STEPS)
    used = counts > 0
    sizes = np.count_nonzero(used, axis=1)
    size = int(sizes.max())
    cells = Cells(np.zeros((rows, size + 1)), np.zeros((rows, size + 1)))
    row, half = np.nonzero(used)
    place = (np.cumsum(used, axis=1))[row, half]
    cells.counts[row, place] = counts[row, half]
    cells.sums[row, place] = sums[row, half]
    np.cumsum(cells.counts, axis=1, out=cells.counts)
    np.cumsum(cells.sums, axis=1, out=cells.sums)
    return GridRows(cells, sizes)


def optimal_grid_centres(rows: GridRows, k: int) -> FloatArray:
    """The `k` integers of [-128, 127] with the least squared error for each row.

    Sorted, float64 `[rows, k]`; one that is not needed repeats another. This is exact. Let any set of integer
    centres be given; each value belongs to the nearest. Where that changes from a to b lies `(a + b) / 2`, a multiple
    of one half, so all values between two neighbouring multiples have the same nearest centre (a value on the multiple
    itself may take either, at the same cost). Hence the best clustering is one of the at most 512 half steps into at
    most k runs. The best integer for a run is the one nearest to its mean, since the error about c is W(c - mean)²
    and a constant. The dynamic programme tries all such runs.
    """
    cells = rows.cells.at_least(k)
    edges = best_edges(cells, rows.sizes, k, on_grid=True)
    return np.clip(np.rint(run_centres(*cells.totals(edges))), GRID_LOW, GRID_HIGH)


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
