"""One streaming run of a graph over calibration data, feeding observers as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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


SEARCHED = 1 << 18
"""Each search is to see at least this many values of a tensor, over all samples, if it has as many."""

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
    looked at itself: the observers of those values are merged instead. One batch of activations is
    alive at a time, in arrays that the next batch reuses. `batch_num` is the number of batches to
    come; with the size of the first it decides how much of a sample the searches look at.
    `progress` is told how many batches are done.
    """
    sources = {reader: element_sources(reader.value) for reader in readers}
    wanted = dict.fromkeys((source, reader.settings) for reader in readers for source in sources[reader])
    names = {(source, reader.settings): reader.name for reader in reversed(readers) for source in sources[reader]}
    executor = Executor(graph, fetch=list(dict.fromkeys(value for value, _ in wanted)), reuse=True)
    observers: dict[tuple[Value, IfmrSettings], IfmrObserver] = {}
    per_sample = LEAST_OF_A_SAMPLE
    for done, feeds in enumerate(batches, start=1):
        fetched = executor.run(feeds)
        if not observers:
            samples = batch_num * max(len(array) for array in feeds.values())
            per_sample = max(LEAST_OF_A_SAMPLE, SEARCHED // samples)
            observers = {key: IfmrObserver(key[1], names[key], per_sample=per_sample) for key in wanted}
        for (value, _), observer in observers.items():
            observer.update(fetched[value])
        progress(done)
    return [
        _merged(IfmrObserver(reader.settings, reader.name, per_sample=per_sample), parts)
        for reader in readers
        for parts in ([observers[source, reader.settings] for source in sources[reader]],)
    ]


def element_sources(value: Value) -> tuple[Value, ...]:
    """The values whose elements, taken together, are exactly the elements of this one, each as often."""
    node = value.producer
    row = op_def(node)
    if row.identity:
        return element_sources(node.inputs[0])
    if not row.moves_data or len(node.outputs) != 1:
        return (value,)
    return tuple(source for given in node.inputs for source in element_sources(given))


def _merged(whole: IfmrObserver, parts: Sequence[IfmrObserver]) -> IfmrObserver:
    for part in parts:
        whole.merge(part)
    return whole
