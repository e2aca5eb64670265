"""Memory for arrays that come and go in the same sizes, batch after batch."""

from __future__ import annotations

import math
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
        self._free: list[NDArray[np.uint8]] = []
        self._lent: list[NDArray[np.uint8]] = []

    def take(self, shape: Shape, dtype: str) -> Array:
        """An array of any content, in the smallest memory that is free and large enough, or else in new memory."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        places = [place for place, memory in enumerate(self._free) if memory.nbytes >= size]
        best = min(places, key=lambda place: self._free[place].nbytes, default=None)
        memory = np.empty(size, np.uint8) if best is None else self._free.pop(best)
        self._lent.append(memory)
        array: Array = memory[:size].view(dtype).reshape(shape)
        return array

    def keep(self, arrays: Iterable[Array]) -> None:
        """Take back all memory but that of these arrays, which may be views of others that are no longer in use."""
        used = {id(array.base) for array in arrays}
        self._free += [memory for memory in self._lent if id(memory) not in used]
        self._lent = [memory for memory in self._lent if id(memory) in used]
