"""The extreme values of a stream: the k largest or the k smallest, in constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.quant.scan import extend_tails, is_compiled_for


class Tail:
    """The `capacity` largest (or smallest) values added so far, whatever their order and split.

    Values equal to the last one kept are interchangeable, so the kept values are the same multiset for
    every order.
    """

    def __init__(self, capacity: int, largest: bool) -> None:
        self.capacity = capacity
        self.largest = largest
        self._parts: list[NDArray[np.float32]] = []
        self._size = 0
        # The least extreme value held, once there are `capacity` of them.
        self._bound: np.float32 | None = None

    @property
    def bound(self) -> np.float32 | None:
        """Only values beyond it can still enter; None as long as any can."""
        return self._bound

    @property
    def size(self) -> int:
        """How many values are held, for a while perhaps more than `capacity`."""
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes that the kept values take."""
        return sum(part.nbytes for part in self._parts)

    def add(self, blocks: NDArray[np.float32], extremes: NDArray[np.float32]) -> None:
        """Take in `blocks` (n, m) of values; `extremes` (n,) are the largest (smallest) of each block."""
        if self._bound is not None:
            # Nothing at or within the bound can enter: `capacity` values at least as extreme are held already.
            reached = self._beyond(extremes, self._bound)
            if not reached.any():
                return
            blocks, extremes = blocks[reached], extremes[reached]
        if len(blocks) > self.capacity:
            # What is kept lies in the blocks with the most extreme extremes: any other block has `capacity` values
            # beyond, or equal to, all of its own.
            order = np.argpartition(extremes, -self.capacity if self.largest else self.capacity - 1)
            blocks = blocks[order[-self.capacity :] if self.largest else order[: self.capacity]]
        kept = blocks.reshape(-1)
        if self._bound is not None:
            kept = kept[self._beyond(kept, self._bound)]
        if kept.size > self.capacity:
            kept = _extremes(kept, self.capacity, self.largest)
        self._parts.append(kept if kept.base is None else kept.copy())
        self._size += kept.size
        if self._size > 2 * self.capacity or (self._bound is None and self._size >= self.capacity):
            self._prune()

    def merge(self, other: Tail) -> None:
        """Take in everything `other` holds; both have the same capacity and side."""
        for part in other._parts:
            self.add(part.reshape(1, -1), part.max(keepdims=True) if self.largest else part.min(keepdims=True))

    def values(self) -> NDArray[np.float32]:
        """All values held, from the smallest to the largest: the most extreme `capacity`, or all there were."""
        return np.sort(_extremes(np.concatenate(self._parts), self.capacity, self.largest))

    def nth(self, rank: int) -> np.float32:
        """The `rank`-th most extreme value, 1 the most extreme; `rank` is at most the capacity and the count."""
        return np.float32(self.values()[-rank if self.largest else rank - 1])

    @classmethod
    def holding(cls, values: NDArray[np.float32], capacity: int, largest: bool) -> Tail:
        """A tail that has kept `values`, in rising order and no more than `capacity`."""
        tail = cls(capacity, largest)
        if values.size:
            tail.add(values.reshape(1, -1), values[-1:] if largest else values[:1])
        return tail

    def _beyond(self, values: NDArray[np.float32], bound: np.float32) -> NDArray[np.bool_]:
        return np.asarray(values > bound if self.largest else values < bound)

    def room(self) -> NDArray[np.float32]:
        """A new array with room for all that can be kept, which begins with the `size` values that are held."""
        room = np.empty(self.capacity, np.float32)
        if self._size > self.capacity or len(self._parts) > 1:
            self._prune()
        for part in self._parts:
            room[: part.size] = part
        return room

    def hold(self, values: NDArray[np.float32]) -> None:
        """Hold these values, and no others; they are not copied."""
        self._parts = [values]
        self._size = values.size
        self._bound = None
        if values.size == self.capacity:
            self._bound = values.min() if self.largest else values.max()

    def _prune(self) -> None:
        self.hold(_extremes(np.concatenate(self._parts), self.capacity, self.largest))


def extend(lower: Tail, upper: Tail, values: NDArray[np.float32]) -> tuple[float, float] | None:
    """Let two tails take in values (at least one, any shape) in compiled code; None, with nothing done, without that.

    Gives the least and the largest of the values, NaN where not all are finite; the tails are of no use then.
    """
    if not is_compiled_for(values):
        return None
    below, above = lower.room(), upper.room()
    ends, filled_below, filled_above = extend_tails(values, below, lower.size, above, upper.size)
    lower.hold(below[:filled_below])
    upper.hold(above[:filled_above])
    return ends


def _extremes(values: NDArray[np.float32], count: int, largest: bool) -> NDArray[np.float32]:
    """A copy of the `count` largest (or smallest) of `values`, in no order."""
    if values.size <= count:
        return values.copy()
    # The extremes of so many stretches: as many values are no less extreme than the least of these, which leaves few.
    stretches = values[: values.size - values.size % count].reshape(count, -1)
    extremes = stretches.max(axis=1) if largest else stretches.min(axis=1)
    values = values[values >= extremes.min() if largest else values <= extremes.max()]
    extreme = values.max() if largest else values.min()
    if np.count_nonzero(values == extreme) >= count:  # zeros after a ReLU: many equal values are slow to partition
        return np.full(count, extreme)
    if largest:
        return np.partition(values, values.size - count)[-count:].copy()
    return np.partition(values, count - 1)[:count].copy()
