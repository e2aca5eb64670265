"""HFMG: the activation range with the least squared error on a histogram of all values (see `hfmg_search`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.quant.grid import check_scale, scale_offset_from_range
from amctc.quant.hfmg_histogram import RangeHistogram, count_values, counts_on, extremes_and_counts
from amctc.quant.hfmg_search import search
from amctc.quant.ifmr import IfmrResult, all_zero, no_data, not_finite
from amctc.quant.scan import extremes
from amctc.quant.state_parts import MOST_VALUES, State, plus_zero, settings_table, take_array, take_settings

HFMG: Final = "hfmg"

BIN_COUNTS = (1024, 2048, 4096, 8192)
BIN_COUNT = 4096

_LARGEST = np.float32(1e38)
"""No legal scale is anywhere near values beyond; up to it the difference of two is a float32."""


@dataclass(frozen=True)
class HfmgSettings:
    """How activations of one layer are calibrated. Illegal values are an error (AM407).

    `bits` is 8 to 16, `num_of_bins` one of `BIN_COUNTS`. `full_range` tries the range of all values too, before the
    others. AMCT does not: the widest range that it tries has shed at least one bin. `algorithm` tells these settings
    from those of IFMR where both are plain data.
    """

    bits: int = 8
    with_offset: bool = True
    num_of_bins: int = BIN_COUNT
    full_range: bool = False
    algorithm: Literal["hfmg"] = HFMG

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16:
            raise error("AM407", f"`bits` cannot be {self.bits}", help="activations have 8 to 16 bits")
        if self.num_of_bins not in BIN_COUNTS:
            rule = f"the number of bins is one of {', '.join(map(str, BIN_COUNTS))}"
            raise error("AM407", f"`num_of_bins` cannot be {self.num_of_bins}", help=rule)


Span: TypeAlias = tuple[np.float32, np.float32]
"""The least and the largest of some values."""


@dataclass(frozen=True, eq=False)
class Extent:
    """Finite values (one axis), at least one, and their range; perhaps their counts on a range of before."""

    values: NDArray[np.float32]
    span: Span
    counted_on: Span | None = None
    counts: NDArray[np.int64] | None = None


class HfmgObserver:
    """Chooses the scale of one activation from a stream of float32 values, as AMCT's HFMG does.

    What it keeps is one histogram, whatever the amount of data. An array given to `update` is AMCT's batch. Observers
    merge, but counts are truncated where a range grows (see `amctc.quant.hfmg_histogram`), so that how values are split
    into updates, and the order of updates and merges, can matter to the last few counts, and with them to the choice
    between candidates that are nearly as good. Where the first update spans all later values it does not matter.

    An observer is fed by one thread at a time. After an error it is of no further use. `name` is the layer, for
    messages.
    """

    kind: ClassVar[str] = HFMG

    def __init__(self, settings: HfmgSettings | None = None, name: str = "") -> None:
        self.settings = settings or HfmgSettings()
        self.name = name
        self.histogram: RangeHistogram | None = None
        self._span: Span | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes: 8 a bin."""
        return self.histogram.counts.nbytes if self.histogram is not None else 0

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in a batch, an array of any shape and float type, as float32.

        NaN or Inf (AM404) and values far too large for a legal scale (AM410) are errors that name the layer.
        """
        seen = self.look(array)
        span = self.widen(seen)
        self.add(span, self.count(seen, span))

    # The parts of `update`: of several batches, `look` and `count` can be done at the same time; `widen` and `add` must
    # be done in the order of the batches, each for itself.

    def look(self, array: NDArray[np.floating]) -> Extent | None:
        """A batch as `update` takes it, and its range; None where it is empty. Raises AM404."""
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes Inf, which is reported
            values = np.asarray(array, dtype=np.float32).reshape(-1)
        if not values.size:
            return None
        bins = self.settings.num_of_bins
        # Most batches are no wider than those before: they are counted with the first look. Other threads may widen
        # the range meanwhile; `count` sees to that.
        before = self._span
        ends, counts = extremes_and_counts(values, *before, bins) if before is not None else (extremes(values), None)
        low, high = map(np.float32, ends)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(self.name)
        return Extent(values, (low, high), before, counts)

    def widen(self, seen: Extent | None) -> Span | None:
        """The range of a batch and of all before it. Raises AM410."""
        if seen is not None:
            self._span = self._union(self._span, seen.span)
        return self._span

    def count(self, seen: Extent | None, span: Span | None) -> NDArray[np.int64] | None:
        """The counts of a batch on the range that `widen` gave for it."""
        if seen is None or span is None:
            return None
        if seen.counts is not None and seen.counted_on == span:
            return seen.counts
        return count_values(seen.values, *span, self.settings.num_of_bins)

    def add(self, span: Span | None, counts: NDArray[np.int64] | None) -> None:
        """Take in what was counted of a batch on a range."""
        if span is None or counts is None:
            return
        if self.histogram is not None:
            counts = counts + counts_on(self.histogram, *span)
        self.histogram = RangeHistogram(*span, counts)

    def merge(self, other: HfmgObserver) -> None:
        """Take in all that `other` has seen; it is left as it is. `ValueError` if its settings differ. AM410."""
        if self.settings != other.settings:
            raise ValueError("observers with different settings cannot be merged")
        if other.histogram is None:
            return
        self._span = self._union(self._span, (other.histogram.low, other.histogram.high))
        self.add(self._span, counts_on(other.histogram, *self._span))

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards.

        No data (AM406), nothing but zeros (AM405) and a scale outside its legal range (AM410) are errors that name the
        layer.
        """
        if self.histogram is None:
            raise no_data(self.name)
        if self.histogram.low == self.histogram.high == 0:
            raise all_zero(self.name)
        return search(self.histogram, self.settings, self.name)

    def state(self) -> State:
        """All that was seen, see `amctc.quant.state_parts`."""
        seen = self.histogram
        ends = plus_zero(np.array([seen.low, seen.high] if seen is not None else [], np.float32))
        counts = seen.counts.copy() if seen is not None else np.zeros(0, np.int64)
        return {"settings": settings_table(self.settings), "ends": ends, "counts": counts}

    @classmethod
    def from_state(cls, state: Mapping[str, object], name: str = "") -> HfmgObserver:
        """An observer that has seen what `state` says. Raises what `amctc.quant.state_parts` says."""
        observer = cls(take_settings(state, HfmgSettings), name)
        ends, counts = take_array(state, "ends", np.float32), take_array(state, "counts", np.int64)
        if not ends.size and not counts.size:
            return observer
        bins = observer.settings.num_of_bins
        if ends.size != 2 or ends[0] > ends[1] or np.abs(ends).max() > _LARGEST or counts.size != bins:
            raise ValueError(f"`ends` is no range, or `counts` has not {bins} bins")
        filled = counts if ends[0] < ends[1] else counts[bins // 2 : bins // 2 + 1]
        if counts.min() < 0 or not 0 < counts.sum(dtype=np.float64) < MOST_VALUES or filled.sum() != counts.sum():
            raise ValueError("`counts` counts no values")
        observer._span = (ends[0], ends[1])
        observer.histogram = RangeHistogram(*observer._span, counts)
        return observer

    def _union(self, before: Span | None, now: Span) -> Span:
        low, high = now
        if before is not None:
            low, high = min(low, before[0]), max(high, before[1])
        if max(abs(low), abs(high)) > _LARGEST:
            widest = scale_offset_from_range(low, high, self.settings.bits, self.settings.with_offset)
            check_scale(widest.scale, self.name, (float(low), float(high)))
        return low, high
