"""Building very many small objects at once."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def building() -> Generator[None, None, None]:
    """Put off Python's search for reference cycles until the block ends.

    A policy of two megabytes becomes a million objects, none of them in a cycle: the search, which is
    due whenever there are many more objects than before, would take longer than reading them.
    Whoever puts it off must have bounded what is built.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
