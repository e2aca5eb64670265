"""Rows of sorted values in cells, and what it gains to give each run of cells a centre of its own.

Clusters of sorted values are runs. The error of a run with count W, sum S and sum of squares Q about a centre c is
`Q - (2cS - c²W)`; all Q together do not depend on the runs, so the gain `2cS - c²W` is what is maximised, and running
totals of count and sum give it for any run at once. `snq_partition` finds the best runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

GRID_LOW, GRID_HIGH = -128, 127


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


def run_gains(counts: FloatArray, sums: FloatArray, on_grid: bool) -> FloatArray:
    """By how much the best centre of each run lowers its squared error, from that about 0 (any shape)."""
    return overwritten_with_gains(sums.copy(), np.maximum(counts, 1), on_grid)


def overwritten_with_gains(sums: FloatArray, counts: FloatArray, on_grid: bool) -> FloatArray:
    """As `run_gains`, for counts above 0; in the place of one of the two, and the other is lost too."""
    if not on_grid:
        np.multiply(sums, sums, out=sums)
        return np.divide(sums, counts, out=sums)
    centres = np.divide(sums, counts)
    np.rint(centres, out=centres)
    np.clip(centres, GRID_LOW, GRID_HIGH, out=centres)
    np.multiply(counts, centres, out=counts)
    np.subtract(sums, counts, out=counts)
    np.add(counts, sums, out=counts)
    return np.multiply(counts, centres, out=counts)
