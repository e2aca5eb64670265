"""Memory for arrays that come and go in the same sizes, batch after batch."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from amctc.ir.node import Array, Shape


class Buffers:
    """Lends memory for arrays, and lends it again when they are no longer in use.

    Fresh memory costs more than what is written to it: a third of a small network's forward pass. Not for several
    threads at a time.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []  # the smallest first
        self._lent: list[NDArray[np.uint8]] = []

    def take(self, shape: Shape, dtype: str) -> Array:
        """An array of any content, in the smallest memory that is free and large enough, or else in new memory."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        best = bisect_left(self._free, size, key=_size)
        memory = self._free.pop(best) if best < len(self._free) else np.empty(size, np.uint8)
        self._lent.append(memory)
        array: Array = memory[:size].view(dtype).reshape(shape)
        return array

    def keep(self, arrays: Iterable[Array]) -> None:
        """Take back all memory but that of these arrays, which may be views of others that are no longer in use."""
        used = {id(array.base) for array in arrays}
        for memory in self._lent:
            if id(memory) not in used:
                insort(self._free, memory, key=_size)
        self._lent = [memory for memory in self._lent if id(memory) in used]


def _size(memory: NDArray[np.uint8]) -> int:
    return memory.nbytes
