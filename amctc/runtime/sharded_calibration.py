"""A calibration that can be taken up where it stopped, in this process or shard by shard by workers.

Either way gives observers that have seen what those of `observe_values` have, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Protocol, TypeAlias

from amctc.ir import Graph
from amctc.quant.hfmg_parts import HfmgRanges, Range
from amctc.quant.observers import Observer
from amctc.runtime.calibration import CalibrationRun, Reader
from amctc.runtime.calibration_engine import CalibrationEngine
from amctc.runtime.calibration_state import CalibrationState
from amctc.runtime.look import Look
from amctc.runtime.samples import Batch
from amctc.runtime.shards import CalibrationJob, Shard, Way, cuts, shard_size

Stretch: TypeAlias = Callable[[int, int], Iterator[Batch]]
"""Reads the batches from one number up to another (excluded), for the first time or anew."""

Found: TypeAlias = Mapping[str, Sequence[CalibrationState]]
"""What was seen, by the name of the look."""

Note: TypeAlias = Callable[[Mapping[str, Look]], None]
"""Told after each step how far each look is."""

IN_ORDER = "in order"
"""The name of the only look of a run in this process that has HFMG's observers: they count as they go."""


TOGETHER = 32
"""After so many batches this process may write a checkpoint."""


class Pool(Protocol):
    """Workers that look at the shards of one job."""

    @property
    def workers(self) -> int:
        """How many there are."""
        ...

    def look_at(self, shards: Iterable[Shard]) -> Iterator[CalibrationState]:
        """What was seen of each shard, in any order. Shards are taken as workers get free.

        Raises `DiagnosticError` for what is wrong with the data, as a run in one process would.
        """
        ...


def name_in_order(readers: Sequence[Reader]) -> str:
    """The name of the look of a run in this process: what merges is the same however it is looked at."""
    return IN_ORDER if any(reader.observer == "hfmg" for reader in readers) else Way.FIRST.value


def observe_in_order(
    graph: Graph,
    readers: Sequence[Reader],
    batch_num: int,
    per_sample: int,
    batches: Stretch,
    found: Found,
    note: Note,
    progress: Callable[[int], None],
) -> list[Observer]:
    """As `observe_values`, from what was found on: what was seen of the batches before is not read.

    Raises `NoState` where `found` does not fit.
    """
    run = CalibrationRun(readers, batch_num)
    run.begin(per_sample)
    name = name_in_order(readers)
    look = Look(run, batch_num, found.get(name, ()))
    engine: CalibrationEngine | None = None
    progress(look.done)
    while missing := look.missing():
        stream = batches(*missing[0])
        # Batches run side by side: only when those that are under way have ended, all has been seen of as many.
        while first := next(stream, None):
            engine = engine or CalibrationEngine(graph, run, first, batch_num)
            for _ in engine.feed(chain((first,), islice(stream, TOGETHER - 1))):
                progress(look.done)
            look.catch_up()
            note({name: look})
    return run.finish()


def observe_in_shards(
    job: CalibrationJob,
    pool: Pool,
    batches: Stretch,
    found: Found,
    note: Note,
    progress: Callable[[int], None],
) -> list[Observer]:
    """As `observe_values`, by workers, from what was found on. `batches` are read where the job has no data set.

    `progress` is told how many batches are done in the mean of the looks. Raises `NoState` where `found` does not fit.
    """
    looks = {way.value: Look(job.run(way), job.batch_num, found.get(way.value, ())) for way in job.ways}

    def told() -> None:
        progress(sum(look.done for look in looks.values()) // len(looks))

    told()
    for way in job.ways:
        look = looks[way.value]
        ranges = _ranges(looks[Way.FIRST.value]) if way is Way.SECOND else {}
        for state in pool.look_at(_shards(job, way, look, ranges, pool.workers, batches)):
            look.add(state)
            told()
            note(looks)
        if not look.is_done:
            raise RuntimeError(f"batches {look.missing()} have not been seen")
    observers = dict(zip(job.readers, looks[Way.FIRST.value].run.finish(), strict=True))
    if job.ordered:
        observers |= dict(zip(job.ordered, looks[Way.SECOND.value].run.finish(), strict=True))
    return [observers[reader] for reader in job.readers]


def _shards(
    job: CalibrationJob,
    way: Way,
    look: Look,
    ranges: Mapping[Reader, HfmgRanges],
    workers: int,
    batches: Stretch,
) -> Iterator[Shard]:
    missing = look.missing()
    size = shard_size(sum(end - first for first, end in missing), workers)
    for first, end in missing:
        stream = batches(first, end) if job.dataset is None else iter(())
        for start, stop in cuts(first, end, size):
            given = tuple(islice(stream, stop - start)) if job.dataset is None else None
            yield Shard(way, start, stop, tuple(_before(reader, ranges, start) for reader in job.ordered), given)


def _ranges(first: Look) -> dict[Reader, HfmgRanges]:
    return {reader: observer for reader, observer in first.run.others.items() if isinstance(observer, HfmgRanges)}


def _before(reader: Reader, ranges: Mapping[Reader, HfmgRanges], start: int) -> Range | None:
    """The range of what a reader has seen before a batch: each of its values is an update."""
    return ranges[reader].before(start * len(reader.values)) if ranges else None
