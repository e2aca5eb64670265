"""Reading ahead: what comes next is made by a few threads while what came before is used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW: Final = 8
"""For fewer items no threads are started."""


def usable_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def decoding_threads(items: int) -> int:
    """How many threads are to decode so many images; 0 says that they are not worth it.

    One, or two on machines of 8 cores and more: ONNX Runtime computes on all cores meanwhile, and on a single core
    there is nothing to gain.
    """
    cores = usable_cores()
    if items < _FEW or cores < 2:
        return 0
    return 1 if cores < 8 else 2


def in_order(read: Callable[[Item], Result], items: Sequence[Item], threads: int, ahead: int) -> Iterator[Result]:
    """`read` of each item, in their order; up to `ahead` of them are made by `threads` before they are asked for.

    What `read` raises is raised where its item's turn is, as without threads. No thread is left when the iterator ends
    or is closed.
    """
    if threads < 1 or ahead < 1 or len(items) < 2:
        yield from map(read, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "amctc-ahead") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
