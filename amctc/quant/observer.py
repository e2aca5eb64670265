"""Streaming IFMR: sees the activations batch by batch, in constant memory, and merges with others of its
kind.

The result depends on the values alone. It is the same bit for bit however they are split into updates and
merges and in whatever order they come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.quant.density_loss import density_losses, density_quantile
from amctc.quant.grid import check_scale
from amctc.quant.histogram import CHUNK, Density, Histogram, Scratch
from amctc.quant.ifmr import (
    IfmrResult,
    IfmrSettings,
    choose,
    make_candidates,
    no_data,
    not_finite,
    search,
    tail_rank,
)
from amctc.quant.tails import Tail

EXACT_LIMIT = 1 << 16
"""Up to this many values are kept as they are, and searched exactly."""

TAIL_CAPACITY = 64
"""How many values a percentile may cut off and still be found exactly."""

_BLOCK = 2048


class IfmrObserver:
    """Chooses the scale of one activation from a stream of float32 values.

    Up to `exact_limit` values the search is `amctc.quant.ifmr.search` itself. Beyond, errors are measured
    on a histogram of 8192 bins a side (16384 for more than 8 bits) as if values were spread evenly inside a
    bin; see `density_loss`. The percentiles are exact while they cut off at most 64 values (6e7 values at
    the default percentile); beyond, they are read from the histogram, and are off by less than a bin,
    1/4096 of the largest magnitude for 8 bits.

    An observer is fed by one thread at a time; different observers can be fed from different threads, and
    the work is done outside Python's lock. After an error it is of no further use. `name` is the layer, for
    messages.
    """

    def __init__(self, settings: IfmrSettings | None = None, name: str = "", *, exact_limit: int = EXACT_LIMIT) -> None:
        self.settings = settings or IfmrSettings()
        self.name = name
        self.exact_limit = exact_limit
        self.count = 0
        self._raw: list[NDArray[np.float32]] | None = []
        self._histogram = Histogram(1 << (13 if self.settings.bits == 8 else 14))
        self._upper = Tail(_tail_capacity(self.settings.max_percentile, exact_limit), largest=True)
        self._lower = Tail(_tail_capacity(self.settings.min_percentile, exact_limit), largest=False)

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes; it has a bound that the amount of data does not change."""
        raw = sum(part.nbytes for part in self._raw or ())
        return raw + self._histogram.nbytes + self._upper.nbytes + self._lower.nbytes

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in an array of any shape and float type, as float32. NaN or Inf is an error (AM404)."""
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes Inf, which is reported
            values = np.asarray(array, dtype=np.float32).ravel(order="K")
        if not values.size:
            return
        self.count += values.size
        if self._raw is not None and self.count <= self.exact_limit:
            self._check_finite(values.min(), values.max())
            self._raw.append(values.copy())
            return
        self._spill()
        self._count_values(values)

    def merge(self, other: IfmrObserver) -> None:
        """Take in all that `other` has seen; it is left as it is. `ValueError` if its settings differ."""
        if (other.settings, other.exact_limit) != (self.settings, self.exact_limit):
            raise ValueError("observers with different settings cannot be merged")
        self.count += other.count
        if self._raw is not None and other._raw is not None and self.count <= self.exact_limit:
            self._raw.extend(other._raw)
            return
        self._spill()
        if other._raw is not None:
            for values in other._raw:
                self._count_values(values)
            return
        self._histogram.merge(other._histogram)
        self._upper.merge(other._upper)
        self._lower.merge(other._lower)

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards.

        No data (AM406), nothing but zeros (AM405) and a scale outside its legal range (AM410) are errors
        that name the layer.
        """
        if not self.count:
            raise no_data(self.name)
        seen = self._range()
        if seen == (0.0, 0.0):
            raise error(
                "AM405",
                f"all activations of layer `{self.name}` are 0, so no scale can be chosen",
                help="skip the layer, or calibrate with data that reach it",
            )
        if self._raw is not None:
            # In one order, so that sums do not depend on the order of arrival.
            return search(np.sort(np.concatenate(self._raw)), self.settings, self.name)
        density = self._histogram.density()
        upper = self._percentile(self._upper, self.settings.max_percentile, density)
        lower = self._percentile(self._lower, self.settings.min_percentile, density)
        initial = (min(lower, np.float32(0)), max(upper, np.float32(0)))
        candidates = make_candidates(self.settings, *initial)
        check_scale(candidates.scales[0], self.name, seen)
        result = choose(self.settings, candidates, density_losses(density, candidates), initial, exact=False)
        check_scale(result.scale, self.name, seen)
        return result

    def _range(self) -> tuple[float, float]:
        if self._raw is None:
            return self._histogram.minimum, self._histogram.maximum
        return float(min(part.min() for part in self._raw)), float(max(part.max() for part in self._raw))

    def _percentile(self, tail: Tail, percentile: float, density: Density) -> np.float32:
        rank = tail_rank(self.count, percentile)
        if rank <= tail.capacity:
            return tail.nth(rank)
        return density_quantile(density, rank, tail.largest)

    def _spill(self) -> None:
        """Give up the exact search: the values kept so far go into the histogram."""
        raw, self._raw = self._raw, None
        for values in raw or ():
            self._count_values(values)

    def _count_values(self, values: NDArray[np.float32]) -> None:
        scratch = Scratch(min(values.size, CHUNK))
        start = 0
        while start < values.size:
            chunk = values[start : start + CHUNK]
            if chunk.size > _BLOCK:
                chunk = chunk[: chunk.size - chunk.size % _BLOCK]
            # Extremes per block tell the tails where to look: hardly any block holds a new one.
            blocks = chunk.reshape(-1, min(chunk.size, _BLOCK))
            lows, highs = blocks.min(axis=1), blocks.max(axis=1)
            low, high = lows.min(), highs.max()
            self._check_finite(low, high)
            self._histogram.add(chunk, low, high, scratch)
            self._upper.add(blocks, highs)
            self._lower.add(blocks, lows)
            start += chunk.size

    def _check_finite(self, low: np.float32, high: np.float32) -> None:
        # A NaN anywhere makes both of them NaN, an infinity is one of them.
        if not (np.isfinite(low) and np.isfinite(high)):
            raise not_finite(self.name)


def _tail_capacity(percentile: float, exact_limit: int) -> int:
    """How many extreme values are worth keeping: 1 for the extreme itself, none if no stream could use
    them.
    """
    if tail_rank(1 << 62, percentile) == 1:
        return 1
    return TAIL_CAPACITY if tail_rank(max(exact_limit, 1), percentile) <= TAIL_CAPACITY else 0
