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
