"""One streaming run of a graph over calibration data, feeding observers as it goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import IfmrObserver
from amctc.runtime.executor import Executor


@dataclass(frozen=True)
class Reader:
    """A value to be observed, with the settings of the observer and the layers' name for messages."""

    value: Value
    settings: IfmrSettings
    name: str


def observe_values(
    graph: Graph,
    readers: Sequence[Reader],
    batches: Iterable[Mapping[str, NDArray[np.float32]]],
    progress: Callable[[int], None] = lambda done: None,
) -> list[IfmrObserver]:
    """Run the graph on every batch and give one fed observer for each reader, in their order.

    A value that only holds elements of other values (the output of a Concat or a Reshape) is not
    looked at itself: the observers of those values are merged instead, which gives the same state
    bit for bit. One batch of activations is alive at a time, in arrays that the next batch reuses.
    `progress` is told how many batches are done.
    """
    sources = {reader: element_sources(reader.value) for reader in readers}
    observers: dict[tuple[Value, IfmrSettings], IfmrObserver] = {}
    for reader in readers:
        for source in sources[reader]:
            observers.setdefault((source, reader.settings), IfmrObserver(reader.settings, reader.name))
    executor = Executor(graph, fetch=list(dict.fromkeys(value for value, _ in observers)), reuse=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, feeds in enumerate(batches, start=1):
            fetched = executor.run(feeds)
            work = [(observer, fetched[value]) for (value, _), observer in observers.items()]
            # The largest first, so that the threads finish together.
            work.sort(key=lambda pair: -pair[1].size)
            for future in [pool.submit(observer.update, array) for observer, array in work]:
                future.result()
            progress(done)
    return [_merged(reader, [observers[source, reader.settings] for source in sources[reader]]) for reader in readers]


def element_sources(value: Value) -> tuple[Value, ...]:
    """The values whose elements, taken together, are exactly the elements of this one, each as often."""
    node = value.producer
    row = op_def(node)
    if row.identity:
        return element_sources(node.inputs[0])
    if not row.moves_data or len(node.outputs) != 1:
        return (value,)
    return tuple(source for given in node.inputs for source in element_sources(given))


def _merged(reader: Reader, parts: Sequence[IfmrObserver]) -> IfmrObserver:
    whole = IfmrObserver(reader.settings, reader.name)
    for part in parts:
        whole.merge(part)
    return whole
