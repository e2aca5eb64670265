"""HFMG of data that are looked at in parts, with the counts that one observer of all of it has, bit for bit.

What `HfmgObserver` counts depends on the range of all that came before. So the parts are gone through twice: first for
the range of each update (`HfmgRanges`), which says in what range each is to be counted, and then for the counts
(`HfmgStretch`). Updates in one range simply add up, and where the range grows a new count begins: the observer that
merges these counts one after the other does what it does when it is fed with the updates themselves.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.quant.hfmg import Extent, HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrResult

Range: TypeAlias = tuple[float, float]
"""The least and the largest of some values, both float32 numbers."""

_EMPTY: Final = (math.inf, -math.inf)


class HfmgRanges:
    """The range of each update, in their order. `name` is the layer, for messages."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._ranges: list[Range] = []

    def __len__(self) -> int:
        """How many updates there were."""
        return len(self._ranges)

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in an array of any shape and float type, as float32. NaN or Inf is an error (AM404)."""
        seen = HfmgObserver(name=self.name).look(array)
        self._ranges.append(_EMPTY if seen is None else (float(seen.span[0]), float(seen.span[1])))

    def append(self, other: HfmgRanges) -> None:
        """Take in the updates of `other`, which come after those seen; it is left as it is."""
        self._ranges.extend(other._ranges)

    def before(self, update: int) -> Range | None:
        """The range of all values before an update of this number; None where there are none."""
        seen = self._ranges[:update]
        low, high = min((low for low, _ in seen), default=math.inf), max((high for _, high in seen), default=-math.inf)
        return (low, high) if low <= high else None

    def finish(self) -> IfmrResult:
        """Ranges alone give no grid."""
        raise ValueError("the ranges of HFMG's updates are not its counts")

    def to_bytes(self) -> bytes:
        """Two little-endian float32 an update; infinity and -infinity for one without values."""
        return np.array(self._ranges, "<f4").tobytes()

    @staticmethod
    def from_bytes(data: bytes, name: str = "") -> HfmgRanges:
        """The inverse of `to_bytes`. Nothing in `data` is trusted: `ValueError` for what is none."""
        if len(data) % 8:
            raise ValueError("the ranges of HFMG are not pairs of numbers")
        ranges = HfmgRanges(name)
        for low, high in np.frombuffer(data, "<f4").reshape(-1, 2).astype(np.float64).tolist():
            if (low, high) != _EMPTY and not -math.inf < low <= high < math.inf:
                raise ValueError("a range of HFMG is none")
            ranges._ranges.append((low, high))
        return ranges


class HfmgStretch:
    """HFMG's counts of updates that come after others, whose values are from `before[0]` to `before[1]`.

    `counted` are observers that have seen the updates, one for each range that there was; merged in their order into
    an observer of the earlier updates, they make it what it is when it is fed with these updates.
    """

    def __init__(self, settings: HfmgSettings, name: str = "", before: Range | None = None) -> None:
        self.settings = settings
        self.name = name
        self.counted: list[HfmgObserver] = []
        self._range = before

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in an array, as `HfmgObserver.update` does; raises what that raises."""
        one = HfmgObserver(self.settings, self.name)
        if self._range is not None:
            low, high = map(np.float32, self._range)
            one.widen(Extent(np.zeros(0, np.float32), (low, high)))
        one.update(array)
        if one.histogram is None:
            return
        now = (float(one.histogram.low), float(one.histogram.high))
        if self.counted and now == self._range:
            self.counted[-1].merge(one)
        else:
            self.counted.append(one)
        self._range = now

    def finish(self) -> IfmrResult:
        """A stretch alone gives no grid."""
        raise ValueError("the counts of a part of the data give no grid")
