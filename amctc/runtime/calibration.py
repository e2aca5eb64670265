"""One streaming run of a graph over calibration data, feeding observers as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Graph, Value
from amctc.quant.observer import IfmrObserver
from amctc.runtime.executor import Executor


def observe_values(
    graph: Graph,
    readers: Sequence[tuple[Value, IfmrObserver]],
    batches: Iterable[Mapping[str, NDArray[np.float32]]],
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Run the graph on every batch and show each observer its value.

    The observers of one batch are fed by a small pool of threads while the next batch runs, so at
    most two batches of activations are alive. `progress` is told how many batches are done.
    """
    values = list({value: None for value, _ in readers})
    executor = Executor(graph, fetch=values)
    with ThreadPoolExecutor(max_workers=2) as pool:
        pending: list[Future[None]] = []
        for done, feeds in enumerate(batches, start=1):
            fetched = executor.run(feeds)
            for future in pending:
                future.result()
            arrays = [(observer, fetched[value]) for value, observer in readers]
            # The largest first, so that the threads finish together.
            arrays.sort(key=lambda pair: -pair[1].size)
            pending = [pool.submit(observer.update, array) for observer, array in arrays]
            progress(done)
        for future in pending:
            future.result()
