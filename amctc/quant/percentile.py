"""The observer of percentiles: the range that leaves out a given part of the values at either end."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from amctc.quant.ifmr import IfmrResult, tail_rank
from amctc.quant.observer import IfmrObserver
from amctc.quant.range_grid import grid_of_range

USUAL_PERCENTILE = 0.9999
"""What is left out where nothing else is asked for: one value of 10,000 at either end."""


class PercentileObserver(IfmrObserver):
    """Chooses the grid between two percentiles of a stream of float32 values, `max_percentile` and `min_percentile`.

    Of n values the k-th largest and the k-th smallest are the ends, k = n - int(n * percentile), at least 1. All values
    are counted. The ends are exact up to `exact_limit` values, and beyond while k is at most 64 (640,000 values at
    99.99 %); then they are read from the histogram of IFMR and off by less than a bin, 1/4096 of the largest magnitude
    for 8 bits. Of the other settings, bits and offset count.
    """

    kind: ClassVar[str] = "percentile"

    counts_all: ClassVar[bool] = True

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards. Errors are those of IFMR."""
        seen = self._checked_range()
        return grid_of_range(self.settings, self._ends(), seen, self.name, exact=self._is_exact())

    def _ends(self) -> tuple[float, float]:
        high, low = self.settings.max_percentile, self.settings.min_percentile
        if self._raw is not None:
            values = np.sort(np.concatenate([samples.reshape(-1) for samples, _ in self._raw]))
            return float(values[tail_rank(self.count, low) - 1]), float(values[-tail_rank(self.count, high)])
        density = self.density()
        return (
            float(self._percentile(self._lower, low, density)),
            float(self._percentile(self._upper, high, density)),
        )

    def _is_exact(self) -> bool:
        percentiles = (self.settings.max_percentile, self.settings.min_percentile)
        ranks = [tail_rank(self.count, percentile) for percentile in percentiles]
        return self._raw is not None or max(ranks) <= self._upper.capacity
