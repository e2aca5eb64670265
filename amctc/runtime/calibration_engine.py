"""How calibration runs a graph: batches side by side, and of each batch only as much at a time as memory is to hold."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.ir import Graph, Value
from amctc.quant.observers import Observer
from amctc.runtime.ahead import usable_cores
from amctc.runtime.calibration import CalibrationRun, Reader, searched_of_a_sample
from amctc.runtime.executor import Executor, graph_inputs
from amctc.runtime.side_by_side import side_by_side

Feeds = Mapping[str, ArrayLike]

SHOWN_AT_ONCE: Final = 8 << 20
"""So many bytes of activations of a batch are looked at together, and then forgotten."""

SIDE_BY_SIDE: Final = 96 << 20
"""Batches run side by side only as long as the activations that they keep take no more bytes, all together."""


class CalibrationEngine:
    """Feeds a `CalibrationRun` with the batches that it is given.

    One batch runs on each core where memory allows it, rather than each on all cores: nothing waits then for the
    slowest part of an op, and observers work while other batches are computed. A graph whose batches depend on each
    other runs one at a time, and so do large batches; then different observers work on different cores. `first` is a
    batch, for the shapes; `cores` are those that may be used (default: all that this process may use).
    """

    def __init__(
        self, graph: Graph, run: CalibrationRun, first: Feeds, batch_num: int, cores: int | None = None
    ) -> None:
        self._run = run
        inputs = graph_inputs(graph)
        shapes = {name: np.shape(array) for name, array in first.items() if name in inputs}
        most = None if run.whole_batches else SHOWN_AT_ONCE
        executor = Executor(graph, shapes, fetch=run.values, most_shown=most)
        cores = usable_cores() if cores is None else cores
        lanes = 1
        if not (executor.in_order or run.whole_batches):
            lanes = max(1, min(cores, batch_num, SIDE_BY_SIDE // max(1, executor.bytes_alive())))
        executor = executor.with_threads(max(1, cores // lanes))
        self._lanes = [executor, *(executor.beside() for _ in range(lanes - 1))]
        # Only of one batch at a time: threads that wait for an earlier batch would keep it from being fed.
        self._feeders = cores if lanes == 1 else 1

    def feed(self, batches: Iterable[Feeds]) -> Generator[None]:
        """Yields when one more batch has been seen; batches may already have been seen that come after it.

        Raises `DiagnosticError` as `Executor.run` and the observers do, for the first batch that something is wrong
        with.
        """
        order = self._run.order()
        with ThreadPoolExecutor(self._feeders, "amctc-observe") as feeders:

            def look(number: int, values: tuple[Value, ...], arrays: Mapping[Value, NDArray[Any]]) -> None:
                if self._feeders < 2:
                    self._run.take({value: arrays[value] for value in values}, number, order)
                    return
                for _ in feeders.map(lambda value: self._run.take({value: arrays[value]}, number, order), values):
                    pass

            def work(lane: Executor, number: int, feeds: Feeds) -> None:
                try:
                    if self._run.whole_batches:
                        self._run.take(lane.run(feeds), number, order)
                    else:
                        lane.run_together([feeds], lambda values, alive: look(number, values, alive[0]))
                except BaseException:
                    order.failed(number)
                    raise

            if len(self._lanes) > 1:  # whoever makes the batches may use their arrays again
                batches = ({name: np.array(array) for name, array in feeds.items()} for feeds in batches)
            for _ in side_by_side(self._lanes, self._with_sessions(batches), work):
                self._run.batches += 1
                yield

    def _with_sessions(self, batches: Iterable[Feeds]) -> Generator[Feeds]:
        """The batches; when all lanes have one, the thread that asks for more builds the sessions of later steps.

        The lanes need not: what sessions take of the memory of other threads is lent to nobody else afterwards.
        """
        steps = range(len(self._lanes[0].steps))
        built_before = {0: steps[:1], len(self._lanes): steps[1:]}
        for number, feeds in enumerate(batches):
            for step in built_before.get(number, ()):
                self._lanes[0].prepare(step)
            yield feeds


def observe_values(
    graph: Graph,
    readers: Sequence[Reader],
    batches: Iterable[Mapping[str, NDArray[np.float32]]],
    batch_num: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Observer]:
    """Run the graph on every batch and give one fed observer for each reader, in their order (see `CalibrationRun`).

    What the observers see does not depend on the number of cores. `progress` is told how many batches are done. Raises
    `DiagnosticError` as `CalibrationEngine.feed` does.
    """
    run = CalibrationRun(readers, batch_num)
    source = iter(batches)
    first = next(source, None)
    if first is None:
        return run.finish()
    run.begin(searched_of_a_sample(batch_num, max(len(array) for array in first.values())))
    for _ in CalibrationEngine(graph, run, first, batch_num).feed(chain((first,), source)):
        progress(run.batches)
    return run.finish()
