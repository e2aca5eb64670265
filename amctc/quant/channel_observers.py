"""Observers of a value whose channels, along its last axis, each have a scale of their own.

What each channel gets is what an observer of its values alone gives. A channel that holds nothing but zeros has scale 1
and the lowest offset, as in AMCT, because the others are of use without it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.quant.activation import ActivationSettings
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.hfmg_histogram import RangeHistogram, counts_on
from amctc.quant.hfmg_search import search as search_histogram
from amctc.quant.histogram import Histogram
from amctc.quant.ifmr import IfmrResult, IfmrSettings, all_zero, no_data, not_finite, search
from amctc.quant.observer import IfmrObserver
from amctc.quant.observers import Observer

EXACT_LIMIT: Final = 1 << 12
"""Up to this many values of a channel are kept as they are, and searched exactly."""

BINS: Final = 1 << 11
"""Bins of a channel's histogram on either side of 0: with 8 bytes each, 32 KiB a channel at most."""

_WAITING: Final = 1 << 11
"""Values of a channel that wait to be counted at once; there may be thousands of channels."""

_TOGETHER: Final = 1 << 18
"""So many bins, of several channels, are counted at once: few enough for the cache."""

_ROWS: Final = 1 << 12
"""Of so many rows at a time."""

_LARGEST: Final = np.float32(1e38)
"""`HfmgObserver` counts no values beyond."""


class ChannelExtremes:
    """The least and the largest value of each channel, float32 `(channels,)`, over all that was seen.

    `name` is the layer, for messages.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.low = np.zeros(0, np.float32)
        self.high = np.zeros(0, np.float32)

    def rows(self, array: NDArray[np.floating]) -> NDArray[np.float32]:
        """An array `(..., channels)` as rows `(n, channels)` of float32, which count from now on.

        NaN or Inf is an error (AM404); another number of channels than before a `ValueError`.
        """
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes Inf, which is reported
            values = np.asarray(array, np.float32)
        rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
        if not rows.size:
            return rows
        low, high = rows.min(axis=0), rows.max(axis=0)
        # A NaN anywhere makes both of them NaN.
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise not_finite(self.name)
        if not self.low.size:
            self.low, self.high = low, high
        elif self.low.size != low.size:
            raise ValueError(f"{low.size} channels after {self.low.size}")
        else:
            self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        return rows

    def check(self) -> None:
        """Raise `DiagnosticError`: AM406 where nothing was seen, AM405 where all channels hold nothing but zeros."""
        if not self.low.size:
            raise no_data(self.name)
        if not (self.low.any() or self.high.any()):
            raise all_zero(self.name)

    def is_dead(self, channel: int) -> bool:
        """Whether a channel holds nothing but zeros."""
        return not (self.low[channel] or self.high[channel])

    def named(self, channel: int) -> str:
        """A channel's name for messages."""
        return f"{self.name}[..., {channel}]"


class ChannelIfmrObserver:
    """IFMR for each channel of arrays `(..., channels)`.

    Up to `EXACT_LIMIT` values of a channel the search is exact; beyond, it is that of `IfmrObserver` on a histogram of
    `BINS` bins a side. Rows are gathered and counted many at a time, so that many channels do not cost many small
    steps: what is kept of a channel takes 64 KiB at most, whatever the amount of data. The result depends on the values
    alone, not on how they are split.
    """

    def __init__(self, settings: IfmrSettings | None = None, name: str = "") -> None:
        self.settings = settings or IfmrSettings()
        self.name = name
        self._extremes = ChannelExtremes(name)
        self._pending: list[NDArray[np.float32]] = []
        self._count = 0
        self._channels: list[_Channel] = []

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes."""
        return sum(rows.nbytes for rows in self._pending) + sum(channel.nbytes for channel in self._channels)

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in an array `(..., channels)` of any float type, as float32. Raises as `ChannelExtremes.rows` does."""
        rows = self._extremes.rows(array)
        for start in range(0, len(rows), EXACT_LIMIT):
            part = rows[start : start + EXACT_LIMIT]
            if self._count + len(part) > EXACT_LIMIT:
                self._count_pending()
            self._pending.append(part.copy())
            self._count += len(part)

    def finish(self) -> IfmrResult:
        """There is no one grid: `ValueError`."""
        raise ValueError("an observer of channels gives a grid for each")

    def finish_channels(self) -> tuple[IfmrResult, ...]:
        """The grid of each channel; the observer can go on afterwards.

        No data (AM406), zeros alone in all channels (AM405) and a scale outside its legal range (AM410) are errors that
        name the layer.
        """
        self._extremes.check()
        self._count_pending()
        return tuple(self._finished(channel) for channel in range(len(self._channels)))

    def _finished(self, channel: int) -> IfmrResult:
        if self._extremes.is_dead(channel):
            return search(np.zeros(1, np.float32), self.settings)
        return self._channels[channel].finish()

    def _count_pending(self) -> None:
        if not self._pending:
            return
        columns = np.ascontiguousarray(np.concatenate(self._pending).T)
        self._pending, self._count = [], 0
        if not self._channels:
            self._channels = [_Channel(self.settings, self._extremes.named(n)) for n in range(len(columns))]
        for observer, column in zip(self._channels, columns, strict=True):
            observer.update(column)


class _Channel(IfmrObserver):
    """IFMR for one channel of many, with less of everything."""

    usual_limit = EXACT_LIMIT

    def __init__(self, settings: IfmrSettings, name: str) -> None:
        super().__init__(settings, name)
        self._histogram = Histogram(BINS, together=_WAITING)


class ChannelHfmgObserver:
    """HFMG for each channel of arrays `(..., channels)`: what `HfmgObserver` finds of the channel alone, bit for bit.

    An array given to `update` is AMCT's batch. What is kept is a histogram a channel, 8 bytes a bin.
    """

    def __init__(self, settings: HfmgSettings | None = None, name: str = "") -> None:
        self.settings = settings or HfmgSettings()
        self.name = name
        self._extremes = ChannelExtremes(name)
        self._counts = np.zeros((0, self.settings.num_of_bins), np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes."""
        return self._counts.nbytes

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in an array `(..., channels)` of any float type, as float32.

        Raises as `ChannelExtremes.rows` does, and AM410 for values far too large for a legal scale.
        """
        before = self._extremes.low, self._extremes.high
        rows = self._extremes.rows(array)
        if not rows.size:
            return
        low, high = self._extremes.low, self._extremes.high
        self._check_size(low, high)
        if not len(self._counts):
            self._counts = np.zeros((low.size, self.settings.num_of_bins), np.int64)
        else:
            for channel in np.flatnonzero((low != before[0]) | (high != before[1])).tolist():
                old = RangeHistogram(before[0][channel], before[1][channel], self._counts[channel])
                self._counts[channel] = counts_on(old, low[channel], high[channel])
        step = max(1, _TOGETHER // self.settings.num_of_bins)
        for start in range(0, low.size, step):
            part = slice(start, start + step)
            for first in range(0, len(rows), _ROWS):
                some = rows[first : first + _ROWS, part]
                self._counts[part] += count_channels(some, low[part], high[part], self.settings.num_of_bins)

    def finish(self) -> IfmrResult:
        """There is no one grid: `ValueError`."""
        raise ValueError("an observer of channels gives a grid for each")

    def finish_channels(self) -> tuple[IfmrResult, ...]:
        """The grid of each channel; the observer can go on afterwards.

        No data (AM406), zeros alone in all channels (AM405) and a scale outside its legal range (AM410) are errors that
        name the layer.
        """
        self._extremes.check()
        return tuple(self._finished(channel) for channel in range(len(self._counts)))

    def _finished(self, channel: int) -> IfmrResult:
        low, high = self._extremes.low[channel], self._extremes.high[channel]
        histogram = RangeHistogram(low, high, self._counts[channel])
        return search_histogram(histogram, self.settings, self._extremes.named(channel))

    def _check_size(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Let `HfmgObserver` refuse what it does not count: the range of a channel would be no float32."""
        far = np.flatnonzero(np.maximum(-low, high) > _LARGEST)
        if far.size:
            channel = int(far[0])
            HfmgObserver(self.settings, self._extremes.named(channel)).update(np.array([low[channel], high[channel]]))


def count_channels(
    rows: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32], bins: int
) -> NDArray[np.int64]:
    """Count the values of each column of `rows` (n, channels) on its range, into `(channels, bins)`.

    The same arithmetic as `amctc.quant.hfmg_histogram.count_values` for each column.
    """
    extent = high - low
    flat = extent == 0
    work = (rows - low) / np.where(flat, np.float32(1), extent) * np.float32(bins)
    numbers = np.minimum(work.astype(np.intp), bins - 1)  # truncates; the upper end goes to the last bin
    numbers[:, flat] = bins // 2
    numbers += np.arange(low.size) * bins
    return np.bincount(numbers.reshape(-1), minlength=low.size * bins).reshape(low.size, bins)


ChannelObserver: TypeAlias = ChannelIfmrObserver | ChannelHfmgObserver


def channel_observer(settings: ActivationSettings, name: str) -> ChannelObserver:
    """A new observer of channels by the algorithm that the settings are of."""
    if isinstance(settings, HfmgSettings):
        return ChannelHfmgObserver(settings, name)
    return ChannelIfmrObserver(settings, name)


def grids_of(observer: Observer) -> tuple[IfmrResult, ...]:
    """What an observer has chosen: one grid, or one for each channel. Raises what its `finish` raises."""
    if isinstance(observer, ChannelIfmrObserver | ChannelHfmgObserver):
        return observer.finish_channels()
    return (observer.finish(),)
