"""The sessions of an executor, and of those that run beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from amctc.ir.node import Shape
from amctc.runtime.session import Session

_KEPT = 2
"""So many of a step are kept: a shorter last batch costs one building, not one in every epoch."""


class SessionCache:
    """The sessions of each step for the input shapes that were met last; several threads may ask for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._built: dict[int, dict[tuple[Shape, ...], Session]] = {}

    def get(self, step: int, shapes: tuple[Shape, ...], build: Callable[[], Session]) -> Session:
        """The session of a step for inputs of these shapes; where there is none, one that `build` makes."""
        with self._lock:
            built = self._built.setdefault(step, {})
            session = built.pop(shapes, None) or build()
            while len(built) >= _KEPT:
                del built[next(iter(built))]
            built[shapes] = session
            return session
