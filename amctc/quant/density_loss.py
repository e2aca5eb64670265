"""The IFMR error of candidate scales on a histogram, in closed form.

A value x goes to the level `n * s` with `n = clip(round(x / s), lo, hi)`. Two forms of the same sum, of which
the cheaper one is used:

By cells, for grids much coarser than the histogram. Let `M0`, `M1` and `M2` be the integrals of 1, x and x**2
over the density. The values of one cell, all that go to level n, have the squared error `M2 - 2 * n * s * M1 +
(n * s)**2 * M0` with the moments of that cell, which come from sums over bins and the part of one bin at either
end; M2 is needed over all cells only.

By edges, for fine grids. With `r = x - n * s`, the squared error `r**2` has the integral `F(x) = n * s**3 / 12 +
r**3 / 3`, which is continuous over all levels and beyond both ends. A bin whose values are spread evenly over
`[e0, e1]` has the mean error `(F(e1) - F(e0)) / (e1 - e0)`.

The two outer bins are taken as so many values at the minimum and the maximum themselves. That is what they
are where it matters: zeros after a ReLU, values at the ceiling of a ReLU6, the lone outlier that a clip
would cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.quant import compiled
from amctc.quant.histogram import Density
from amctc.quant.ifmr import Candidates

Array: TypeAlias = NDArray[np.float64]

# What finding the moments at the end of a cell costs, in terms of the error integral at the edge of a bin.
_CELL_COST = 4
_CELLS_AT_ONCE = 1 << 15


@dataclass(frozen=True, eq=False)
class Grids:
    """Scales and the levels at which they clip: three float64 arrays `(grids, 1)`."""

    steps: Array
    lows: Array
    highs: Array

    def __getitem__(self, part: slice) -> Grids:
        return Grids(self.steps[part], self.lows[part], self.highs[part])

    def levels(self, x: Array) -> Array:
        """The levels that x `(n,)` goes to, shape `(grids, n)`."""
        return np.clip(np.rint(x / self.steps), self.lows, self.highs)


def density_losses(density: Density, candidates: Candidates) -> Array:
    """Mean squared error of each candidate, shape `(candidates,)`, float64; infinite for an infinite scale."""
    losses = np.full(candidates.scales.size, np.inf)
    finite = np.isfinite(candidates.scales)
    scales = candidates.scales[finite]
    # In float32, as the exact search does, so that both stop at the same levels.
    levels = [np.rint(ends[finite] / scales) for ends in (candidates.lows, candidates.highs)]
    grids = Grids(*(array.astype(np.float64)[:, np.newaxis] for array in (scales, *levels)))
    losses[finite] = (_outer_errors(density, grids) + _inner_errors(density, grids)) / float(density.counts.sum())
    return losses


def _outer_errors(density: Density, grids: Grids) -> Array:
    ends = density.edges[[0, -1]]
    # All values in one bin: it is both ends.
    counts = density.counts[[0, -1]] / (1 if density.counts.size > 1 else 2)
    errors = ends - grids.levels(ends) * grids.steps
    return np.asarray((counts * errors * errors).sum(axis=1))


def _inner_errors(density: Density, grids: Grids) -> Array:
    counts, edges = density.counts[1:-1].astype(np.float64), density.edges[1:-1]
    if not counts.size or not grids.steps.size:
        return np.zeros(grids.steps.size)
    cells = int((grids.highs - grids.lows).max()) + 1
    if _CELL_COST * cells < edges.size:
        return errors_by_cells(counts, edges, grids)
    return errors_by_edges(counts, edges, grids)


def errors_by_cells(counts: Array, edges: Array, grids: Grids) -> Array:
    """Summed squared error of each grid on `counts` (n,) between `edges` (n + 1,), which are equally far apart.

    `O(grids * cells)`.
    """
    # Moments around the middle, so that little cancels out where values are few and far from 0.
    middle = edges[edges.size // 2]
    edges = edges - middle
    left, right = edges[:-1], edges[1:]
    width = edges[1] - edges[0]
    evenly = counts / width
    # From the first edge to each. Edges are multiples of a power of two, so that the sums of 0 and 1 are exact.
    zeroth = np.concatenate(([0.0], np.cumsum(counts)))
    first = np.concatenate(([0.0], np.cumsum(counts * ((left + right) / 2))))
    second = float(np.sum(counts * (left * left + left * right + right * right))) / 3
    cells = int((grids.highs - grids.lows).max()) + 1
    errors = np.empty(grids.steps.size)
    if compiled.SEARCH is not None:
        steps, lows, highs = (np.ascontiguousarray(array[:, 0]) for array in (grids.steps, grids.lows, grids.highs))
        compiled.SEARCH.cell_errors(
            steps, lows, highs, cells, edges, evenly, zeroth, first, float(middle), second, errors
        )
        return errors
    block = max(1, _CELLS_AT_ONCE // cells)
    for start in range(0, errors.size, block):
        part = grids[start : start + block]
        numbers = part.lows + np.arange(cells)
        # Grids differ in their number of cells: the cells past the last one of a grid go to its last level.
        levels = np.minimum(numbers, part.highs) * part.steps - middle
        ends = np.clip((numbers[:, :-1] + 0.5) * part.steps - middle, edges[0], edges[-1])
        bins = np.minimum(((ends - edges[0]) / width).astype(np.intp), counts.size - 1)
        bin_starts = edges[bins]
        inside = (ends - bin_starts) * evenly[bins]
        zeroth_in = _between(zeroth[bins] + inside, zeroth[-1])
        first_in = _between(first[bins] + inside * ((ends + bin_starts) / 2), first[-1])
        # One after the other, so that the compiled code can add them up in the same order.
        sums = np.add.accumulate(levels * (levels * zeroth_in - 2 * first_in), axis=1)[:, -1]
        errors[start : start + block] = second + sums
    return errors


def _between(cumulated: Array, total: float) -> Array:
    """What lies in each cell, for what lies below the end of each but the last one."""
    return np.diff(cumulated, axis=1, prepend=0.0, append=total)


def errors_by_edges(counts: Array, edges: Array, grids: Grids) -> Array:
    """The same as `errors_by_cells`, `O(grids * n)`."""
    evenly = counts / np.diff(edges)
    errors = np.empty(grids.steps.size)
    for i in range(errors.size):
        grid = grids[i : i + 1]
        step = float(grid.steps[0, 0])
        levels = grid.levels(edges)[0]
        rest = edges - levels * step
        errors[i] = float(np.sum(evenly * np.diff(levels * (step**3 / 12) + rest * rest * rest / 3)))
    return errors


def density_quantile(density: Density, rank: int, largest: bool) -> np.float32:
    """The `rank`-th largest (or smallest) value, 1 the most extreme, placed evenly inside its bin.

    It is off by less than the width of that bin.
    """
    counts, edges = density.counts, density.edges
    if largest:
        counts, edges = counts[::-1], -edges[::-1]
    cumulated = np.cumsum(counts)
    i = int(np.searchsorted(cumulated, rank))
    inside = rank - (int(cumulated[i]) - int(counts[i]))
    value = edges[i] + (edges[i + 1] - edges[i]) * ((inside - 1) / int(counts[i]))
    return np.float32(-value if largest else value)
