"""One streaming run of a graph over calibration data, feeding observers as it goes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.quant.observer import IfmrObserver
from amctc.runtime.executor import Executor


@dataclass(frozen=True)
class Reader:
    """A value to be observed, with the settings of the observer and the layers' name for messages."""

    value: Value
    settings: IfmrSettings
    name: str


_Key: TypeAlias = tuple[Value, IfmrSettings]

SEARCHED = 1 << 18
"""Each search is to see at least this many values of a tensor, over all samples, if it has as many."""

LANES = 2
"""How many batches are computed and observed side by side; each holds the activations of one batch."""

LEAST_OF_A_SAMPLE = 1 << 13
"""And at least this many of each sample."""


def observe_values(
    graph: Graph,
    readers: Sequence[Reader],
    batches: Iterable[Mapping[str, NDArray[np.float32]]],
    batch_num: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[IfmrObserver]:
    """Run the graph on every batch and give one fed observer for each reader, in their order.

    A value that only holds elements of other values (the output of a Concat or a Reshape) is not
    looked at itself: the observers of those values are merged instead. The batches are shared out
    among a few lanes, each with a session, observers and activations of its own, so that one lane
    can observe while another computes; observers merge exactly, so the result does not depend on
    who got which batch. `batch_num` is the number of batches to come; with the size of the first it
    decides how much of a sample the searches look at. `progress` is told how many batches are done.
    """
    sources = {reader: element_sources(reader.value) for reader in readers}
    wanted = {(source, reader.settings): reader.name for reader in readers for source in sources[reader]}
    feeds = _Shared(batches, batch_num, progress)
    cores = os.cpu_count() or 1
    lanes = min(LANES, batch_num, cores)
    with ThreadPoolExecutor(max_workers=lanes) as pool:
        running = [pool.submit(_run_lane, graph, wanted, feeds, max(1, cores // lanes)) for _ in range(lanes)]
        observed = [lane.result() for lane in running]
    return [
        _merged(
            reader, feeds.per_sample, [lane[source, reader.settings] for lane in observed for source in sources[reader]]
        )
        for reader in readers
    ]


class _Shared:
    """The batches, handed out one at a time to whichever lane asks."""

    def __init__(
        self, batches: Iterable[Mapping[str, NDArray[np.float32]]], batch_num: int, progress: Callable[[int], None]
    ) -> None:
        self._batches = iter(batches)
        self._lock = threading.Lock()
        self._progress = progress
        self._done = 0
        first = next(self._batches, None)
        self._waiting = first
        samples = batch_num * max((len(array) for array in first.values()), default=1) if first is not None else 1
        self.per_sample = max(LEAST_OF_A_SAMPLE, SEARCHED // samples)

    def take(self) -> Mapping[str, NDArray[np.float32]] | None:
        """The next batch, or None when there are no more."""
        with self._lock:
            given, self._waiting = self._waiting, None
            return given if given is not None else next(self._batches, None)

    def tell(self) -> None:
        """One more batch is done."""
        with self._lock:
            self._done += 1
            self._progress(self._done)


def _run_lane(graph: Graph, wanted: Mapping[_Key, str], feeds: _Shared, threads: int) -> dict[_Key, IfmrObserver]:
    """Run batches until there are none left; gives what was observed of them."""
    observers = {key: IfmrObserver(key[1], name, per_sample=feeds.per_sample) for key, name in wanted.items()}
    executor = Executor(graph, fetch=list(dict.fromkeys(value for value, _ in wanted)), threads=threads, reuse=True)
    while (batch := feeds.take()) is not None:
        fetched = executor.run(batch)
        for (value, _), observer in observers.items():
            observer.update(fetched[value])
        feeds.tell()
    return observers


def finish_all(observers: Sequence[IfmrObserver]) -> list[IfmrResult | DiagnosticError]:
    """Search all scales, on all cores; what an observer refuses stands in its place."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(_finish, observers))


def _finish(observer: IfmrObserver) -> IfmrResult | DiagnosticError:
    try:
        return observer.finish()
    except DiagnosticError as mistake:
        return mistake


def element_sources(value: Value) -> tuple[Value, ...]:
    """The values whose elements, taken together, are exactly the elements of this one, each as often."""
    node = value.producer
    row = op_def(node)
    if row.identity:
        return element_sources(node.inputs[0])
    if not row.moves_data or len(node.outputs) != 1:
        return (value,)
    return tuple(source for given in node.inputs for source in element_sources(given))


def _merged(reader: Reader, per_sample: int, parts: Sequence[IfmrObserver]) -> IfmrObserver:
    whole = IfmrObserver(reader.settings, reader.name, per_sample=per_sample)
    for part in parts:
        whole.merge(part)
    return whole
