"""Reading large nets without looking for garbage where there is none."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_garbage() -> Generator[None, None, None]:
    """Pause Python's search for reference cycles while a tree of many objects is built, all of which stay.

    The search goes through all of them again and again: for a net of ten thousand layers it takes
    longer than reading does.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
