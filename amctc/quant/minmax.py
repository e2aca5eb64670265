"""The observer of the whole range: from the smallest value to the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.quant.ifmr import IfmrResult, IfmrSettings, all_zero, no_data, not_finite
from amctc.quant.observer import UNBOUNDED, Bounds
from amctc.quant.range_grid import grid_of_range
from amctc.quant.scan import extremes
from amctc.quant.state_parts import State, plus_zero, settings_table, take_array, take_int, take_settings


class MinMaxObserver:
    """Chooses the grid that holds all values of a stream of float32 values, exactly.

    It keeps two numbers, which do not depend on how the values are split into updates and merges. Of the settings,
    bits and offset count. `within` are bounds which the op that gives the values keeps. `name` is the layer, for
    messages.
    """

    kind: ClassVar[str] = "minmax"

    def __init__(self, settings: IfmrSettings | None = None, name: str = "", *, within: Bounds = UNBOUNDED) -> None:
        self.settings = settings or IfmrSettings()
        self.within = within
        self.name = name
        self.count = 0
        self._low = np.float32(math.inf)
        self._high = np.float32(-math.inf)

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes."""
        return self._low.nbytes + self._high.nbytes

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in an array of any shape and float type, as float32. NaN or Inf is an error (AM404)."""
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes Inf, which is reported
            values = np.asarray(array, dtype=np.float32).reshape(-1)
        if not values.size:
            return
        floor, ceiling = map(np.float32, self.within)
        # What an end cannot pass need not be looked for again.
        low, high = map(
            np.float32,
            extremes(values, floor if self._low == floor else None, ceiling if self._high == ceiling else None),
        )
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(self.name)
        self._low, self._high = min(self._low, low), max(self._high, high)
        self.count += values.size

    def merge(self, other: MinMaxObserver) -> None:
        """Take in all that `other` has seen; it is left as it is. `ValueError` if its settings differ."""
        if self.settings != other.settings:
            raise ValueError("observers with different settings cannot be merged")
        self.count += other.count
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards.

        No data (AM406), nothing but zeros (AM405) and a scale outside its legal range (AM410) are errors that name the
        layer.
        """
        if not self.count:
            raise no_data(self.name)
        seen = (float(self._low), float(self._high))
        if seen == (0, 0):
            raise all_zero(self.name)
        return grid_of_range(self.settings, seen, seen, self.name, exact=True)

    def state(self) -> State:
        """All that was seen, see `amctc.quant.state_parts`."""
        ends = plus_zero(np.array([self._low, self._high] if self.count else [], np.float32))
        return {"settings": settings_table(self.settings), "count": self.count, "ends": ends}

    @classmethod
    def from_state(cls, state: Mapping[str, object], name: str = "") -> MinMaxObserver:
        """An observer that has seen what `state` says. Raises what `amctc.quant.state_parts` says."""
        observer = cls(take_settings(state, IfmrSettings), name)
        observer.count = take_int(state, "count")
        ends = take_array(state, "ends", np.float32)
        if ends.size != (2 if observer.count else 0) or (np.diff(ends) < 0).any():
            raise ValueError("`ends` is no range")
        if ends.size:
            observer._low, observer._high = ends
        return observer
