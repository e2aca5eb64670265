"""The observer of the least divergence: the clipping threshold whose grid keeps the distribution best.

Magnitudes are counted in up to 2048 equal bins from 0, `p`, each side of 0 on its own where the grid has an offset. A
threshold after i bins makes two distributions of i bins a side. P is `p` with all that lies beyond put into the last
bin. Q is `p` without it, cut into L = `2**(bits - 1)` levels a side, 128 for 8 bits, bin j in level `floor(L * j / i)`,
each level spread evenly over those of its bins that hold anything. Both are divided by their sums; the divergence is
`sum(P * log(P / Q))` over the bins where P is not 0. i goes from L to all bins, and the widest of the thresholds with
the least divergence is taken; where there are no more bins than levels, from 12 bits on, that is the whole range.
Bin 0, where a ReLU has its zeros, which every grid has exactly, counts as its neighbour does. Where the last bin is
empty but for what lies beyond, Q has a ten-thousandth of a value in it, so that lone outliers do not forbid to clip.
Sources: TensorRT's calibration as NVIDIA's pytorch-quantization has it, and onnxruntime's for the last rule.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.quant.histogram import Density, Histogram
from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.quant.observer import PER_SAMPLE, UNBOUNDED, Bounds, IfmrObserver
from amctc.quant.range_grid import grid_of_range

BINS = 2048

_TRACE = 1e-4
"""What Q has in a last bin that would be empty, in values."""

_ROUNDING = 1e-9
"""Divergences that differ by no more are the same."""


class EntropyObserver(IfmrObserver):
    """Chooses the threshold of the least divergence from a stream of float32 values.

    Values are counted as IFMR counts them (see `sample_stride`), in a histogram whose bins are a power of two wide, so
    that the largest magnitude lies in bin 1025 to 2048; no value is kept to be looked at again. With an offset the
    range ends at the extremes where these are nearer to 0 than the threshold. `index` of the result is the number of
    bins, and `loss` the divergence. Of the settings, bits and offset count.
    """

    kind: ClassVar[str] = "entropy"

    def __init__(
        self,
        settings: IfmrSettings | None = None,
        name: str = "",
        *,
        exact_limit: int = 0,
        per_sample: int = PER_SAMPLE,
        within: Bounds = UNBOUNDED,
    ) -> None:
        super().__init__(settings, name, exact_limit=0, per_sample=per_sample, within=within)
        self._histogram = Histogram(BINS)

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards. Errors are those of IFMR."""
        seen = self._checked_range()
        width = self._histogram.width
        sides = magnitudes(self.density(), width)
        if not self.settings.with_offset:
            sides = sides.sum(axis=0, keepdims=True)
        bins, levels = sides.shape[1], 1 << (self.settings.bits - 1)
        if bins <= levels:
            return grid_of_range(self.settings, seen, seen, self.name, index=bins, exact=False)
        found = divergences(without_zeros(sides), levels)
        best = int(np.flatnonzero(found <= found.min() + _ROUNDING)[-1])
        threshold = (levels + best) * width
        chosen = (max(seen[0], -threshold), min(seen[1], threshold))
        index, loss = levels + best, float(found[best])
        return grid_of_range(self.settings, chosen, seen, self.name, index=index, loss=loss, exact=False)


def magnitudes(density: Density, width: float) -> NDArray[np.int64]:
    """The counts of bins of this width from 0 outwards, `(2, bins)`: of values below 0, and above.

    A bin 0 that holds values of one side only goes to that side as a whole.
    """
    first, last = (math.trunc(end / width) for end in density.edges[[0, -1]].tolist())
    sides = np.zeros((2, max(-first, last) + 1), np.int64)
    if first < 0 < last:
        below, above = density.counts[: 1 - first], density.counts[1 - first :]
    elif first < 0:
        below, above = density.counts, density.counts[:0]
    else:
        below, above = density.counts[:0], density.counts
    sides[0, -first + 1 - below.size : -first + 1] = below[::-1]
    sides[1, last + 1 - above.size : last + 1] = above
    return sides


def without_zeros(sides: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counts `(sides, bins)` with bin 0 of each side as bin 1, at least if anything is left then."""
    changed = sides.copy()
    changed[:, 0] = sides[:, 1]
    return changed if changed.any() else sides


def divergences(sides: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """The divergence for each threshold from `levels` bins to all, `(bins - levels + 1,)`, of counts `(sides, bins)`.

    The sums over bins come from running totals at the ends of levels: with n a bin's count, m the mean count of the
    bins of its level that hold anything, N the number of all values and S the sum of all m, it is
    `(sum(n' log n') - sum(n' log m)) / N + log(S / N)`; n' is n, and for the last bin n with all beyond.
    """
    bins = sides.shape[1]
    ends = np.arange(levels, bins + 1)
    bounds = -(-np.arange(levels + 1) * ends[:, np.newaxis] // levels)  # rounded up
    total, inside = float(sides.sum()), np.zeros(ends.size)
    difference = np.zeros(ends.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        for counts in sides:
            below, used, logs = (
                np.concatenate(([0.0], np.cumsum(part)))
                for part in (counts.astype(np.float64), counts > 0, _times_log(counts.astype(np.float64)))
            )
            kept = np.diff(below[bounds], axis=1)
            means = np.log(kept / np.diff(used[bounds], axis=1))
            spread = np.where(kept > 0, kept * means, 0).sum(axis=1)
            beyond, last = below[-1] - below[ends], counts[ends - 1].astype(np.float64)
            # The last bin with all beyond, in place of the bin alone.
            ours = logs[ends] - _times_log(last) + _times_log(last + beyond)
            difference += ours - spread - beyond * np.where(last > 0, means[:, -1], np.log(_TRACE))
            inside += below[ends] + np.where((last == 0) & (beyond > 0), _TRACE, 0)
    return np.asarray(difference / total + np.log(inside / total))


def _times_log(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """`n * log(n)`, 0 for 0."""
    return np.asarray(numbers * np.log(np.where(numbers > 0, numbers, 1)))
