"""The workers of a Dask cluster as a pool that looks at shards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.calibration_state import CalibrationState
from amctc.runtime.shards import Shard
from amctc.scaleout.worker import Mistakes, look_at

Seen: TypeAlias = "Future[bytes | Mistakes]"

_AHEAD: Final = 2
"""So many shards a worker are under way: one that it looks at, and one that waits for it."""

_ASK: Final = 2.0
"""After so many seconds without news it is asked whether there are workers at all."""

_PATIENCE: Final = 60.0
"""Seconds that a cluster may be without any worker."""


class DaskPool:
    """Looks at shards of the calibration that the workers hold under a name.

    A shard whose worker dies goes to another; what is wrong with the data is told once, for the first shard that it is
    found in.
    """

    def __init__(self, client: Client, name: str, workers: int, patience: float = _PATIENCE) -> None:
        self._client = client
        self._name = name
        self._patience = patience
        self.workers = workers

    def look_at(self, shards: Iterable[Shard]) -> Iterator[CalibrationState]:
        """See `Pool.look_at`. Raises `DiagnosticError` too: AM473 where the cluster is lost, AM477 where shards kill
        their workers."""
        more, waiting = iter(shards), dict[Seen, Shard]()
        ready: SimpleQueue[Seen] = SimpleQueue()
        wrong: tuple[int, Mistakes] | None = None
        try:
            while True:
                room = _AHEAD * self.workers - len(waiting) if wrong is None else 0
                for shard in islice(more, room):
                    future: Seen = self._client.submit(look_at, self._name, shard, pure=False, retries=0)
                    waiting[future] = shard
                    future.add_done_callback(ready.put)
                # Of several mistakes the one is told that one process would have met.
                if wrong is not None and all(shard.start > wrong[0] for shard in waiting.values()):
                    raise DiagnosticError(*wrong[1].diagnostics)
                if not waiting:
                    return
                future = self._next(ready)
                shard = waiting.pop(future)
                seen = _result(future, shard)
                future.release()
                if isinstance(seen, Mistakes):
                    wrong = (shard.start, seen)
                elif wrong is None:
                    yield CalibrationState.from_bytes(seen)
        finally:
            self._client.cancel(list(waiting), force=True)

    def _next(self, ready: SimpleQueue[Seen]) -> Seen:
        """The next future that is done. Raises `DiagnosticError` (AM473) where there are no workers for too long."""
        last_seen = time.monotonic()
        while True:
            try:
                return ready.get(timeout=_ASK)
            except Empty:
                now = time.monotonic()
                if worker_count(self._client):
                    last_seen = now
                elif now - last_seen > self._patience:
                    raise _lost("it has no workers any more") from None


def worker_count(client: Client) -> int:
    """How many workers the cluster has now."""
    threads: Any = client.nthreads()
    return len(threads)


def _result(future: Seen, shard: Shard) -> bytes | Mistakes:
    try:
        seen: Any = future.result()
    except KilledWorker as failure:
        message = f"batches {shard.start} to {shard.stop - 1} end each worker that looks at them"
        help = "memory may be too short: take fewer workers, or a smaller batch size"
        raise error("AM477", message, help=help) from failure
    except (CancelledError, CommClosedError, TimeoutError) as failure:
        raise _lost("its scheduler does not answer any more") from failure
    if isinstance(seen, bytes | Mistakes):
        return seen
    raise TypeError(f"a worker answers with {type(seen).__name__}")


def _lost(why: str) -> DiagnosticError:
    help = "with `--checkpoint FILE` what the shards have seen is kept, and the next run goes on from there"
    return error("AM473", f"the cluster is lost: {why}", help=help)
