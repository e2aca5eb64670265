"""Making the next batch while the net computes on the one before."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from amctc.ir.node import Shape


class _Batches(Protocol):
    @property
    def shapes(self) -> tuple[Shape, ...]: ...

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]: ...


class Prefetched:
    """A source of batches that has the next one in hand; asked in another order it gives the same batches."""

    def __init__(self, source: _Batches) -> None:
        self._source = source
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[tuple[NDArray[np.float32], ...]]] | None = None

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self._source.shapes

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """Raises what the source raises for this batch."""
        if self._pool is None:
            # One thread, so that the source is asked for one batch at a time.
            self._pool = ThreadPoolExecutor(1, "amctc-batches")
        waiting, self._next = self._next, None
        if waiting is None or waiting[0] != number:
            waiting = (number, self._pool.submit(self._source.batch, number))
        made = waiting[1].result()
        self._next = (number + 1, self._pool.submit(self._source.batch, number + 1))
        return made
