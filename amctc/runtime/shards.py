"""Shards of a calibration: contiguous batches that one worker looks at, and how the calibration is cut into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock
from typing import TypeAlias

from amctc.ir import Graph
from amctc.quant.hfmg import HfmgSettings
from amctc.quant.hfmg_parts import HfmgRanges, HfmgStretch, Range
from amctc.quant.observers import Observer
from amctc.runtime.calibration import CalibrationRun, Reader, own_observer
from amctc.runtime.calibration_engine import SHOWN_AT_ONCE
from amctc.runtime.calibration_state import state_of
from amctc.runtime.datasets import Dataset
from amctc.runtime.executor import Executor
from amctc.runtime.samples import Batch

FOR_EACH_WORKER = 8
"""A calibration is cut into about so many shards for each worker: what is lost with a worker is one of them."""

SHORTEST = 4
"""No shard has fewer batches, if each worker has two then: to merge the state of one costs about as much as a batch."""

LONGEST = 256
"""No shard has more batches."""


class Way(StrEnum):
    """How a shard is looked at. HFMG, which counts each batch in the range of all before it, takes two looks."""

    FIRST = "first"
    """By the observers that merge, and for the ranges of what HFMG observes."""
    SECOND = "second"
    """By HFMG's observers alone, from the range on that the batches before have."""


@dataclass(frozen=True)
class Shard:
    """The batches from `start` up to `stop` (excluded), and how they are looked at.

    `before` are the ranges of what each of HFMG's readers has to see before `start`, for the second look. `given` are
    the batches where workers cannot read them themselves.
    """

    way: Way
    start: int
    stop: int
    before: tuple[Range | None, ...] = ()
    given: tuple[Batch, ...] | None = None


Cut: TypeAlias = tuple[int, int]
"""The first batch of a shard, and its end (excluded)."""


def cuts(start: int, stop: int, size: int) -> Iterator[Cut]:
    """Cut the batches from `start` up to `stop` (excluded) into shards of `size`, in their order."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def shard_size(batches: int, workers: int) -> int:
    """How many batches a shard has, where so many are to be seen by so many workers."""
    least = min(SHORTEST, max(1, batches // (2 * workers)))
    return min(LONGEST, max(least, batches // (FOR_EACH_WORKER * workers)))


@dataclass(frozen=True)
class CalibrationJob:
    """All that a worker needs to look at a shard: the same for all shards, and sent once.

    `dataset` is None where batches come with the shards. `per_sample` is how many values of a sample searches see, see
    `CalibrationRun.begin`. `threads` are those of one op, None for all cores. `plugins` are the files to load before.
    """

    graph: Graph
    readers: tuple[Reader, ...]
    batch_num: int
    batch_size: int
    per_sample: int
    dataset: Dataset | None = None
    threads: int | None = None
    plugins: tuple[str, ...] = ()

    def with_threads(self, threads: int) -> CalibrationJob:
        return replace(self, threads=threads)

    @property
    def ordered(self) -> tuple[Reader, ...]:
        """The readers of HFMG."""
        return tuple(reader for reader in self.readers if isinstance(reader.settings, HfmgSettings))

    @property
    def ways(self) -> tuple[Way, ...]:
        return (Way.FIRST, Way.SECOND) if self.ordered else (Way.FIRST,)

    def run(self, way: Way) -> CalibrationRun:
        """The run that the shards of a look are put together in."""
        run = (
            CalibrationRun(self.readers, self.batch_num, _ranges)
            if way is Way.FIRST
            else CalibrationRun(self.ordered, self.batch_num)
        )
        run.begin(self.per_sample)
        return run


class ShardRunner:
    """Looks at the shards of one calibration, one at a time, in one process."""

    def __init__(self, job: CalibrationJob) -> None:
        self._job = job
        self._executors: dict[Way, Executor] = {}
        self._lock = Lock()

    def run(self, shard: Shard) -> bytes:
        """What the observers have seen of a shard: the bytes of a `CalibrationState`.

        Raises `DiagnosticError` as `Dataset.batches`, `Executor.run` and `CalibrationRun.feed` do.
        """
        with self._lock:  # a process has one set of arrays
            return self._run(shard)

    def _run(self, shard: Shard) -> bytes:
        run = self._observing(shard)
        for feeds in self._batches(shard):
            executor = self._executor(shard.way, run, feeds)
            if run.whole_batches:
                run.take(executor.run(feeds))
            else:
                executor.run_together([feeds], lambda values, alive: run.take({v: alive[0][v] for v in values}))
            run.batches += 1
        if run.batches != shard.stop - shard.start:
            raise RuntimeError(f"the data gave {run.batches} batches where {shard.stop - shard.start} are due")
        return state_of(run.fed, shard.start, shard.stop).to_bytes()

    def _executor(self, way: Way, run: CalibrationRun, feeds: Batch) -> Executor:
        if way not in self._executors:
            shapes = {name: array.shape for name, array in feeds.items()}
            most = None if run.whole_batches else SHOWN_AT_ONCE
            self._executors[way] = Executor(self._job.graph, shapes, run.values, self._job.threads, most_shown=most)
        return self._executors[way]

    def _observing(self, shard: Shard) -> CalibrationRun:
        if shard.way is Way.FIRST:
            return self._job.run(Way.FIRST)
        before = dict(zip(self._job.ordered, shard.before, strict=True))
        return CalibrationRun(self._job.ordered, self._job.batch_num, lambda reader: _stretch(reader, before[reader]))

    def _batches(self, shard: Shard) -> Iterator[Batch]:
        if shard.given is not None:
            yield from shard.given
        elif self._job.dataset is not None:
            size = self._job.batch_size
            yield from self._job.dataset.select(shard.start * size, shard.stop * size).batches(size)


def _ranges(reader: Reader) -> Observer:
    return HfmgRanges(reader.name) if isinstance(reader.settings, HfmgSettings) else own_observer(reader)


def _stretch(reader: Reader, before: Range | None) -> Observer:
    if not isinstance(reader.settings, HfmgSettings):
        raise TypeError(f"the second look is at HFMG's values, not at those of `{reader.observer}`")
    return HfmgStretch(reader.settings, reader.name, before)
