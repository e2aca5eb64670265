"""The sessions of an executor, and of those that run beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from amctc.ir.node import Shape
from amctc.runtime.session import Session

_KEPT = 2
"""So many of a step are kept: a shorter last batch costs one building, not one in every epoch."""


class SessionCache:
    """The sessions of each of `steps` steps for the input shapes that were met last.

    Several threads may ask for them, and build those of different steps at the same time.
    """

    def __init__(self, steps: int) -> None:
        self._locks = [threading.Lock() for _ in range(steps)]
        self._built: list[dict[tuple[Shape, ...], Session]] = [{} for _ in range(steps)]

    def get(self, step: int, shapes: tuple[Shape, ...], build: Callable[[], Session]) -> Session:
        """The session of a step for inputs of these shapes; where there is none, one that `build` makes."""
        with self._locks[step]:
            built = self._built[step]
            session = built.pop(shapes, None) or build()
            while len(built) >= _KEPT:
                del built[next(iter(built))]
            built[shapes] = session
            return session
