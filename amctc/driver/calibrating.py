"""Feeding the observers of one compilation by workers, or with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path

from amctc.diagnostics import Collector, Diagnostic, Level, error
from amctc.driver.checkpoint import CheckpointFile, network_identity
from amctc.driver.how_to_calibrate import HowToCalibrate
from amctc.ir import Graph
from amctc.quant.hfmg import HFMG
from amctc.quant.observers import BUILT_IN_OBSERVERS, Observer
from amctc.runtime.calibration import CalibrationRun, Reader, searched_of_a_sample
from amctc.runtime.calibration_data import CalibrationData
from amctc.runtime.calibration_engine import observe_values
from amctc.runtime.calibration_state import NoState
from amctc.runtime.data_identity import data_identity, is_portable
from amctc.runtime.executor import Executor
from amctc.runtime.look import Look
from amctc.runtime.plan import HostStep
from amctc.runtime.samples import Batch
from amctc.runtime.sharded_calibration import (
    Found,
    Pool,
    Stretch,
    name_in_order,
    observe_in_order,
    observe_in_shards,
)
from amctc.runtime.shards import CalibrationJob


class Calibrating:
    """Feeds the observers of one compilation as `how` says; `identity` tells all of it but the network.

    Where that cannot be, they are fed in this process without a checkpoint, and a warning (AM472) says why.
    """

    def __init__(
        self,
        how: HowToCalibrate,
        data: CalibrationData,
        collector: Collector,
        progress: Callable[[int], None],
        identity: Callable[[str], Mapping[str, str]],
        plugins: Sequence[str | Path] = (),
    ) -> None:
        self._how = how
        self._data = data
        self._collector = collector
        self._progress = progress
        self._identity = identity
        self._plugins = tuple(str(Path(file).absolute()) for file in plugins)
        self._file: CheckpointFile | None = None

    def observe(self, graph: Graph, readers: Sequence[Reader], batch_num: int) -> list[Observer]:
        """One fed observer for each reader, in their order.

        Raises `DiagnosticError` as `observe_values` does, and: AM473 and AM477 for workers, AM475, AM476 and AM700 for
        the checkpoint.
        """
        obstacle = self._obstacle(graph, readers)
        if obstacle is not None:
            asked = [f"`--{name}`" for name in ("workers", "scheduler", "checkpoint") if getattr(self._how, name)]
            message = f"{obstacle}, so that this process calibrates alone and from the start, whatever {asked[0]} says"
            self._collector.add(Diagnostic("AM472", message, Level.WARNING))
            return observe_values(graph, readers, self._data.batches(), batch_num, self._progress)
        first, batches = self._opened()
        return self._observe(graph, tuple(readers), batch_num, first, batches)

    def finish(self) -> None:
        """All is done, and the checkpoint of no more use."""
        if self._file is not None:
            self._file.remove()

    def _opened(self) -> tuple[Batch, Stretch]:
        """The first batch, and what reads stretches; an iterator is not read twice."""
        if not self._data.dataset.once:
            return next(self._data.stretch(0, 1)), self._data.stretch
        stream = self._data.batches()
        first = next(stream)
        return first, lambda start, stop: chain([first], stream)

    def _observe(
        self, graph: Graph, readers: tuple[Reader, ...], batch_num: int, first: Batch, batches: Stretch
    ) -> list[Observer]:
        samples = max(len(array) for array in first.values())
        per_sample = searched_of_a_sample(batch_num, samples)
        dataset = self._data.dataset if is_portable(self._data.dataset.source) else None
        size = self._data.batch_size
        job = CalibrationJob(graph, readers, batch_num, size, per_sample, dataset, plugins=self._plugins)
        names = [way.value for way in job.ways] if self._how.with_workers else [name_in_order(readers)]
        found = self._begin(graph, readers, names)
        note = self._file.note if self._file is not None else _nothing
        try:
            if not self._how.with_workers:
                return observe_in_order(graph, readers, batch_num, per_sample, batches, found, note, self._progress)
            with self._pool(job) as pool:
                return observe_in_shards(job, pool, batches, found, note, self._progress)
        except NoState as why:
            if self._file is None:
                raise
            raise self._file.damaged(why) from why

    def _begin(self, graph: Graph, readers: Sequence[Reader], names: Sequence[str]) -> Found:
        if self._how.checkpoint is None:
            return {}
        try:
            identity = dict(self._identity(data_identity(self._data.dataset) or ""))
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise error("AM441", f"this file cannot be read any more: {reason}", file=str(problem.filename)) from None
        identity["network"] = network_identity(graph, readers)
        self._file = CheckpointFile(self._how.checkpoint, identity, self._how.seconds)
        return self._file.begin(names, self._how.start_over)

    def _pool(self, job: CalibrationJob) -> AbstractContextManager[Pool]:
        from amctc.scaleout.cluster import existing_pool, local_pool

        if self._how.scheduler is not None:
            return existing_pool(job, self._how.scheduler)
        return local_pool(job, self._how.workers or 1)

    def _obstacle(self, graph: Graph, readers: Sequence[Reader]) -> str | None:
        """Why the calibration can be neither split nor taken up again."""
        for reader in readers:
            if reader.per_channel:
                return f"what was seen of each channel of `{reader.name}` cannot be kept, and not be merged"
            if reader.observer not in BUILT_IN_OBSERVERS:
                return f"what the observer `{reader.observer}` has seen cannot be kept, and not be merged"
        if self._data.batch_num is None:
            return "how many batches there are is not known before the data have been read"
        twice = self._how.with_workers and any(reader.observer == HFMG for reader in readers)
        if twice and self._data.dataset.once:
            return "with workers HFMG goes through the data twice, and an iterator can be read only once"
        run = CalibrationRun(readers, self._data.batch_num)
        executor = Executor(graph, fetch=run.values)
        if executor.in_order:
            waits = (step for step in executor.steps if isinstance(step, HostStep) and step.op.begin is not None)
            return f"the layer `{next(waits).node.name}` goes on from the batch before"
        return None


def _nothing(looks: Mapping[str, Look]) -> None:
    del looks
