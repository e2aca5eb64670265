"""An order for what a file lists in any: each thing behind those that it reads."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence


def in_order(waiting: Sequence[Collection[int]]) -> tuple[list[int], list[int]]:
    """The numbers of things, each behind those in `waiting` at its number and else rising; and those in circles.

    The latter wait for themselves, or for what does. `waiting` has each number once. O(n log n).
    """
    if all(number > max(sources, default=-1) for number, sources in enumerate(waiting)):
        return list(range(len(waiting))), []
    readers: dict[int, list[int]] = {}
    for number, sources in enumerate(waiting):
        for source in sources:
            readers.setdefault(source, []).append(number)
    left = [len(sources) for sources in waiting]
    ready = [number for number, count in enumerate(left) if not count]
    found: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        found.append(number)
        for reader in readers.get(number, ()):
            left[reader] -= 1
            if not left[reader]:
                heapq.heappush(ready, reader)
    return found, [number for number, count in enumerate(left) if count]
