"""Work on batches side by side, one on each core, where some of it must be done in the order of the batches."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

Worker = TypeVar("Worker")
Item = TypeVar("Item")


class Stopped(Exception):
    """An earlier turn failed, so that this one does not come."""


class Turns:
    """What must be done for one number after the other, from 0 on, by whichever thread has that number."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next = 0
        self._failed: float = math.inf

    @contextmanager
    def of(self, number: int) -> Generator[None]:
        """Wait for a number's turn, and hand it on. Raises `Stopped` if a number before it `failed`."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == number or self._failed < number)
            if self._next != number:
                raise Stopped
        yield
        with self._changed:
            self._next += 1
            self._changed.notify_all()

    def failed(self, number: int) -> None:
        """Say that a number will not come, so that nobody waits for its turn."""
        with self._changed:
            self._failed = min(self._failed, number)
            self._changed.notify_all()


def side_by_side(
    workers: Sequence[Worker], items: Iterable[Item], work: Callable[[Worker, int, Item], None]
) -> Generator[None]:
    """Let the workers work on the items, each on one at a time; yields for each item that is done, in their order.

    `work` is given a worker, the number of an item from 0 on, and the item. One item more than there are workers is
    taken beforehand. What `work` raises is raised where its item's turn is. With one worker there are no threads. No
    thread is left when the generator ends or is closed.
    """
    if len(workers) == 1:
        for number, item in enumerate(items):
            work(workers[0], number, item)
            yield
        return
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(number: int, item: Item) -> None:
        worker = idle.get()
        try:
            work(worker, number, item)
        finally:
            idle.put(worker)

    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(len(workers), "amctc-batch") as pool:
        try:
            for number, item in enumerate(items):
                waiting.append(pool.submit(one, number, item))
                if len(waiting) > len(workers):
                    waiting.popleft().result()
                    yield
            while waiting:
                waiting.popleft().result()
                yield
        finally:
            for future in waiting:
                future.cancel()
