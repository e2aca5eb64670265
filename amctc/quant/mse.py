"""The observer of the least squared error: all ranges down to a thousandth of the data's are tried.

Each end of the range is the extreme value times a ratio from 1 to 1/1024: `2**(-k / 64)`, k = 0 to 640, the same one
for both ends without an offset, or where values lie on one side of 0; else `2**(-k / 16)`, k = 0 to 160, in all pairs.
A candidate is the min-max grid of its range, and its loss the mean squared error of values put on it. The widest
candidate with the least loss wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.quant.density_loss import density_losses
from amctc.quant.grid import check_scale, grid_limits, scale_offset_from_range
from amctc.quant.histogram import Density
from amctc.quant.ifmr import Candidates, IfmrResult, IfmrSettings, measure_losses
from amctc.quant.observer import IfmrObserver
from amctc.quant.range_grid import grid_of_range

OCTAVES = 10
STEPS_AN_OCTAVE = 64
STEPS_OF_A_PAIR = 16
"""Steps in an octave, where one ratio is tried, and where two are."""

EXACT_LIMIT = 1 << 14
"""Up to this many values are kept as they are, and searched exactly."""

_PROBES = 64
"""How many candidates are looked at first, to know which of the others can be the best."""

_ROUNDING = 1e-12
"""More than rounding can do to a sum of squares, relative to its terms."""


class MseObserver(IfmrObserver):
    """Chooses the range with the least squared error from a stream of float32 values.

    Up to `exact_limit` values errors are those of the values; beyond, they are measured on the histogram of IFMR, for
    the values that it counts (see `IfmrObserver`). Of the settings, bits and offset count. `index` of the result is the
    number of the candidate, the pair of the k-th low and the l-th high end having `161 * k + l`.
    """

    kind: ClassVar[str] = "mse"

    usual_limit: ClassVar[int] = EXACT_LIMIT

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards. Errors are those of IFMR."""
        low, high = seen = self._checked_range()
        ranges = candidate_ranges(low, high, self.settings.with_offset)
        grids = candidate_grids(ranges, self.settings)
        check_scale(grids.scales[0], self.name, seen)
        if self._raw is not None:
            values = np.sort(np.concatenate([samples.reshape(-1) for samples, _ in self._raw]))
            points = _Points(values, values, np.ones(values.size))
            index, loss = least_loss(grids, points, lambda some: measure_losses(values, some))
        else:
            density = self.density()
            index, loss = least_loss(grids, _nearest_points(density), lambda some: density_losses(density, some))
        chosen = (float(ranges[index, 0]), float(ranges[index, 1]))
        exact = self._raw is not None
        return grid_of_range(self.settings, chosen, seen, self.name, index=index, loss=loss, exact=exact)


def candidate_ranges(low: float, high: float, with_offset: bool) -> NDArray[np.float32]:
    """The ranges to try for values from `low` to `high`, shape `(candidates, 2)`, the widest first."""
    pairs = with_offset and low < 0 < high
    steps = STEPS_OF_A_PAIR if pairs else STEPS_AN_OCTAVE
    ratios = np.exp2(-np.arange(OCTAVES * steps + 1) / steps).astype(np.float32)
    lows, highs = ratios * np.float32(min(low, 0)), ratios * np.float32(max(high, 0))
    if pairs:
        return np.stack((np.repeat(lows, highs.size), np.tile(highs, lows.size)), axis=1)
    return np.stack((lows, highs), axis=1)


def candidate_grids(ranges: NDArray[np.float32], settings: IfmrSettings) -> Candidates:
    """The min-max grids of ranges, with their own ends to clip at."""
    params = scale_offset_from_range(ranges[:, 0], ranges[:, 1], settings.bits, settings.with_offset)
    low_q, high_q = grid_limits(settings.bits)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite scale is refused afterwards
        ends = [params.scale * (end - params.offset).astype(np.float32) for end in (low_q, high_q)]
    return Candidates(params.scale, ends[0], ends[1])


@dataclass(frozen=True, eq=False)
class _Points:
    """Values in rising order, `weights` at each, all (n,): as clipping from above sees them, and from below.

    They are no farther away than the values that they stand for.
    """

    from_above: NDArray[np.floating]
    from_below: NDArray[np.floating]
    weights: NDArray[np.float64]


def _nearest_points(density: Density) -> _Points:
    """All values of a bin at its nearer edge; those of the outer bins are at the extremes, see `density_loss`."""
    above, below = density.edges[:-1].copy(), density.edges[1:].copy()
    if density.counts.size > 1:
        above[-1], below[0] = density.edges[-1], density.edges[0]
    return _Points(above, below, density.counts.astype(np.float64))


def least_loss(
    grids: Candidates, points: _Points, measure: Callable[[Candidates], NDArray[np.float64]]
) -> tuple[int, float]:
    """The first grid with the least loss, and its loss.

    Grids that lose more by clipping alone than the best of a few that are measured first are not measured.
    """
    losses = np.full(grids.scales.size, np.inf)

    def look_at(some: NDArray[np.intp]) -> None:
        losses[some] = measure(Candidates(grids.scales[some], grids.lows[some], grids.highs[some]))

    look_at(np.arange(0, losses.size, max(1, losses.size // _PROBES)))
    bounds = clipping_losses(grids, points)
    look_at(np.flatnonzero(np.isinf(losses) & (bounds <= np.nanmin(losses))))
    index = int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))
    return index, float(losses[index])


def clipping_losses(grids: Candidates, points: _Points) -> NDArray[np.float64]:
    """No more than the mean squared error that clipping alone makes, shape `(candidates,)`."""
    summed = _squares_beyond(grids.highs, points.from_above, points.weights)
    summed += _squares_beyond(-grids.lows, -points.from_below[::-1], points.weights[::-1])
    return np.asarray(summed / points.weights.sum())


def _squares_beyond(
    ends: NDArray[np.float32], values: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sum of `weights * (value - end)**2` over the values above each end, less what rounding can add to it."""
    wide, at = values.astype(np.float64), ends.astype(np.float64)
    zeroth, first, second = (
        np.concatenate((np.cumsum((weights * wide**power)[::-1])[::-1], [0.0])) for power in range(3)
    )
    places = np.searchsorted(wide, at, side="right")
    terms = second[places], at * at * zeroth[places]
    summed = terms[0] + terms[1] - 2 * at * first[places]
    return np.maximum(summed - _ROUNDING * (terms[0] + terms[1]), 0)
