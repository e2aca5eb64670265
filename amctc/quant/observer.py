"""Streaming IFMR: sees the activations batch by batch, in constant memory, and merges with others of its
kind.

The result depends on the samples alone. It is the same bit for bit however they are split into updates and
merges and in whatever order they come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.quant.density_loss import density_losses, density_quantile
from amctc.quant.grid import check_scale
from amctc.quant.histogram import Density, Histogram
from amctc.quant.ifmr import (
    IfmrResult,
    IfmrSettings,
    all_zero,
    choose,
    make_candidates,
    no_data,
    not_finite,
    search,
    tail_rank,
)
from amctc.quant.kept_samples import in_one_order, out_of_one_order
from amctc.quant.scan import extremes
from amctc.quant.state_parts import State, plus_zero, settings_table, take_array, take_int, take_settings
from amctc.quant.tails import Tail, extend

EXACT_LIMIT = 1 << 16
"""Up to this many values are kept as they are, and searched exactly."""

PER_SAMPLE = 1 << 14
"""About this many values of a sample, or more, are counted for the search, where nothing else is asked."""

SAMPLED_PERCENTILE = 0.99999
"""Percentiles from here on are found at the ends; below, every value is counted, so that they come out right."""

TAIL_CAPACITY = 64
"""How many values are kept at either end: so many a percentile may cut off and still be found exactly."""

_BLOCK = 1 << 11
"""Extremes are taken of about so many values at a time, to know where the tails have to look."""


Bounds: TypeAlias = tuple[float, float]
"""What values are never below, and never above."""

UNBOUNDED: Final = (-math.inf, math.inf)


class IfmrObserver:
    """Chooses the scale of one activation from a stream of float32 values.

    Up to `exact_limit` values the search is `amctc.quant.ifmr.search` itself. Beyond, the extremes are those
    of all values; the search measures errors on about `per_sample` values a sample or more (see `sample_stride`), and
    on the 64 largest and the 64 smallest of all. They are counted in a histogram of 8192 bins a side (16384 for
    more than 8 bits), and errors measured as if values were spread evenly inside a bin; see `density_loss`.
    The percentiles are exact while they cut off at most 64 values (6e7 values at the default percentile);
    beyond, they are read from the histogram. With a percentile below 0.99999 all values are counted, and it is
    off by less than a bin, 1/4096 of the largest magnitude for 8 bits.

    A sample is a sub-array along the first axis, or the whole array if it has fewer than two axes. `within` are bounds
    which the op that gives the values keeps, as a ReLU does: once an end is full of them, numpy need not look there.

    An observer is fed by one thread at a time; different observers can be fed from different threads, and
    the work is done outside Python's lock. After an error it is of no further use. `name` is the layer, for
    messages.
    """

    kind: ClassVar[str] = "ifmr"
    counts_all: ClassVar[bool] = False
    """Whether every value is counted, whatever the percentiles ask for."""
    usual_limit: ClassVar[int] = EXACT_LIMIT
    """`exact_limit` where nobody says another."""

    def __init__(
        self,
        settings: IfmrSettings | None = None,
        name: str = "",
        *,
        exact_limit: int | None = None,
        per_sample: int = PER_SAMPLE,
        within: Bounds = UNBOUNDED,
    ) -> None:
        self.settings = settings or IfmrSettings()
        self.name = name
        self.within = within
        self.exact_limit = self.usual_limit if exact_limit is None else exact_limit
        self.per_sample = per_sample
        self.count = 0
        percentile = min(self.settings.max_percentile, self.settings.min_percentile)
        self._sampled = not self.counts_all and percentile >= SAMPLED_PERCENTILE
        # Samples `(n, values)` and the stride at which they are to be counted.
        self._raw: list[tuple[NDArray[np.float32], int]] | None = []
        self._histogram = Histogram(1 << (13 if self.settings.bits == 8 else 14))
        self._upper = Tail(TAIL_CAPACITY, largest=True)
        self._lower = Tail(TAIL_CAPACITY, largest=False)

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes; it has a bound that the amount of data does not change."""
        raw = sum(samples.nbytes for samples, _ in self._raw or ())
        return raw + self._histogram.nbytes + self._upper.nbytes + self._lower.nbytes

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in samples, an array of any shape and float type, as float32. NaN or Inf is an error (AM404)."""
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes Inf, which is reported
            values = np.asarray(array, dtype=np.float32)
        if not values.size:
            return
        stride = sample_stride(values.shape, self.per_sample) if self._sampled else 1
        samples = values.reshape(len(values) if values.ndim > 1 else 1, -1)
        self.count += values.size
        if self._raw is not None and self.count <= self.exact_limit:
            self._check_finite(*extremes(samples))
            self._raw.append((samples.copy(), stride))
            return
        self._spill()
        self._take_in(samples, stride)

    def merge(self, other: IfmrObserver) -> None:
        """Take in all that `other` has seen; it is left as it is. `ValueError` if its settings differ."""
        mine, theirs = ((o.kind, o.settings, o.exact_limit, o.per_sample) for o in (self, other))
        if mine != theirs:
            raise ValueError("observers with different settings cannot be merged")
        self.count += other.count
        if self._raw is not None and other._raw is not None and self.count <= self.exact_limit:
            self._raw.extend(other._raw)
            return
        self._spill()
        if other._raw is not None:
            for samples, stride in other._raw:
                self._take_in(samples, stride)
            return
        self._histogram.merge(other._histogram)
        self._upper.merge(other._upper)
        self._lower.merge(other._lower)

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards.

        No data (AM406), nothing but zeros (AM405) and a scale outside its legal range (AM410) are errors
        that name the layer.
        """
        seen = self._checked_range()
        if self._raw is not None:
            # In one order, so that sums do not depend on the order of arrival.
            return search(
                np.sort(np.concatenate([samples.reshape(-1) for samples, _ in self._raw])), self.settings, self.name
            )
        density = self.density()
        upper = self._percentile(self._upper, self.settings.max_percentile, density)
        lower = self._percentile(self._lower, self.settings.min_percentile, density)
        initial = (min(lower, np.float32(0)), max(upper, np.float32(0)))
        candidates = make_candidates(self.settings, *initial)
        check_scale(candidates.scales[0], self.name, seen)
        result = choose(self.settings, candidates, density_losses(density, candidates), initial, exact=False)
        check_scale(result.scale, self.name, seen)
        return result

    def density(self) -> Density:
        """What was counted, where values are no longer kept."""
        return self._histogram.density(self._lower.values(), self._upper.values())

    def state(self) -> State:
        """All that was seen, see `amctc.quant.state_parts`."""
        raw, histogram = self._raw is not None, self._histogram
        nothing = np.zeros(0, np.float32)
        values, rows = in_one_order(self._raw or [])
        return {
            "settings": settings_table(self.settings),
            "exact_limit": self.exact_limit,
            "per_sample": self.per_sample,
            "count": self.count,
            "raw_values": values,
            "raw_rows": rows,
            "counts": histogram.counts(),
            "lowest": nothing if raw else plus_zero(self._lower.values()),
            "highest": nothing if raw else plus_zero(self._upper.values()),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object], name: str = "") -> Self:
        """An observer that has seen what `state` says. Raises what `amctc.quant.state_parts` says."""
        limit, per_sample = take_int(state, "exact_limit"), take_int(state, "per_sample", 1)
        observer = cls(take_settings(state, IfmrSettings), name, exact_limit=limit, per_sample=per_sample)
        observer.count = take_int(state, "count")
        values, rows = take_array(state, "raw_values", np.float32), take_array(state, "raw_rows", np.int64, 2)
        counts = take_array(state, "counts", np.int64)
        lowest, highest = (take_array(state, key, np.float32) for key in ("lowest", "highest"))
        if observer.exact_limit != limit:
            raise ValueError(f"an observer of the kind `{cls.kind}` has no `exact_limit` of {limit}")
        if observer.count <= limit:
            observer._raw = out_of_one_order(values, rows)
            if values.size != observer.count or counts.size or lowest.size or highest.size:
                raise ValueError("the values that are kept are not those that were seen")
            return observer
        observer._raw = None
        kept = min(TAIL_CAPACITY, observer.count)
        sorted_ = (np.diff(lowest) >= 0).all() and (np.diff(highest) >= 0).all()
        if values.size or rows.size or lowest.size != kept or highest.size != kept or not sorted_:
            raise ValueError("`lowest` and `highest` are not the ends of what was seen")
        low, high = lowest[0], highest[-1]
        if lowest[-1] > high or highest[0] < low:
            raise ValueError("`lowest` is above `highest`")
        observer._histogram = Histogram.holding(counts, float(low), float(high), observer._histogram.bins)
        observer._lower = Tail.holding(lowest, TAIL_CAPACITY, largest=False)
        observer._upper = Tail.holding(highest, TAIL_CAPACITY, largest=True)
        return observer

    def _checked_range(self) -> tuple[float, float]:
        """The extremes of what was seen; AM406 and AM405 where there is nothing to choose a scale from."""
        if not self.count:
            raise no_data(self.name)
        seen = self._range()
        if seen == (0.0, 0.0):
            raise all_zero(self.name)
        return seen

    def _range(self) -> tuple[float, float]:
        if self._raw is None:
            return self._histogram.minimum, self._histogram.maximum
        return (
            float(min(samples.min() for samples, _ in self._raw)),
            float(max(samples.max() for samples, _ in self._raw)),
        )

    def _percentile(self, tail: Tail, percentile: float, density: Density) -> np.float32:
        rank = tail_rank(self.count, percentile)
        if rank <= tail.capacity:
            return tail.nth(rank)
        counted = int(density.counts.sum())  # not quite `self.count` where samples were not counted in full
        return density_quantile(density, max(1, (rank * counted + self.count // 2) // self.count), tail.largest)

    def _spill(self) -> None:
        """Give up the exact search: the samples kept so far go into the histogram."""
        raw, self._raw = self._raw, None
        for samples, stride in raw or ():
            self._take_in(samples, stride)

    def _take_in(self, samples: NDArray[np.float32], stride: int) -> None:
        """Look at all values, and count every `stride`-th run of each sample as `stride` runs, from the first on."""
        low, high = self._look_at(samples.reshape(-1))
        self._histogram.add(samples, low, high, stride)

    def _look_at(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """The least and the largest of some values, or bounds; the tails look into those blocks that have news."""
        ends = extend(self._lower, self._upper, values)
        if ends is not None:
            self._check_finite(*ends)
            return ends
        length = _block_length(values.size)
        whole = values.size - values.size % length
        parts = [part for part in (values[:whole].reshape(-1, length), values[whole:].reshape(1, -1)) if part.size]
        floor, ceiling = self.within
        low, high = np.float32(floor), np.float32(ceiling)
        # Where a tail holds nothing but the bound, no value can change it. One look is left, for NaN and Inf.
        if self._lower.bound != low:
            low = self._seen(parts, self._lower)
            high = high if self._upper.bound == high else self._seen(parts, self._upper)
        elif self._upper.bound != high:
            high = self._seen(parts, self._upper)
        elif not math.isfinite(values.max()):
            raise not_finite(self.name)
        return float(low), float(high)

    def _seen(self, parts: Sequence[NDArray[np.float32]], tail: Tail) -> np.float32:
        """The most extreme of the values of some blocks (n, m), which go to a tail."""
        extreme = np.maximum if tail.largest else np.minimum
        found: list[np.float32] = []
        for blocks in parts:
            extremes = extreme.reduce(blocks, axis=1)
            most: np.float32 = extreme.reduce(extremes)
            # A NaN anywhere makes it NaN.
            if not math.isfinite(most):
                raise not_finite(self.name)
            tail.add(blocks, extremes)
            found.append(most)
        return max(found) if tail.largest else min(found)

    def _check_finite(self, low: float, high: float) -> None:
        # A NaN anywhere makes both of them NaN, an infinity is one of them.
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(self.name)


def sample_stride(shape: tuple[int, ...], per_sample: int = PER_SAMPLE) -> int:
    """Of how many runs one is counted of each sample of an array of this shape, in C order.

    A run is `RUN` values in a row. It is the largest stride that leaves `per_sample` values (1 for fewer), and that
    has no factor in common with the length of the last axis, so that every column of an image has its share.
    """
    size = math.prod(shape[1:] if len(shape) > 1 else shape)
    row = shape[-1] if len(shape) > 2 else 1
    stride = max(1, size // per_sample)
    while math.gcd(stride, row) > 1:
        stride -= 1
    return stride


@lru_cache(maxsize=1024)
def _block_length(size: int) -> int:
    """Of how many values the extremes are taken at a time: such that none are left over, where that goes."""
    lengths = range(min(_BLOCK, size), _BLOCK // 4, -1)
    return next((length for length in lengths if size % length == 0), min(_BLOCK, size))
