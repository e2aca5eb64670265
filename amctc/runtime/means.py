"""The means of the channels of linear layers over calibration data, and what quantization makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node, Value
from amctc.runtime.executor import Executor
from amctc.runtime.kept_batches import batches_within


def channel_means(
    graph: Graph,
    nodes: Sequence[Node],
    batches: Iterable[Mapping[str, ArrayLike]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[Node, NDArray[np.float64]]:
    """The mean of each output channel of some linear layers in each batch: [batches, channels].

    One batch of activations is alive at a time. `progress` is told how many batches are done. Raises `DiagnosticError`:
    AM404 for NaN and infinity, and what `Executor.run` raises.
    """
    executor = Executor(graph, fetch=[node.output for node in nodes])
    rows: dict[Node, list[NDArray[np.float64]]] = {node: [] for node in nodes}
    for done, feeds in enumerate(batches, 1):
        found = executor.run(feeds)
        for node in nodes:
            rows[node].append(_means(node, found[node.output]))
        progress(done)
    return {node: np.stack(means) for node, means in rows.items() if means}


@dataclass(frozen=True, eq=False)
class Corrections:
    """What is to be added to the bias of each layer, float64 [channels], and on how many batches that was found."""

    shifts: Mapping[Node, NDArray[np.float64]]
    batches: int


def mean_corrections(
    graph: Graph,
    wanted: Mapping[Node, NDArray[np.float64]],
    batches: Iterable[Mapping[str, ArrayLike]],
    most_bytes: int,
) -> Corrections:
    """What the biases of linear layers lack for the means of their output channels to be the wanted ones.

    `wanted` has them as `channel_means` gives them, for the same batches. The layers are taken in the order of the
    graph; each is looked at when those before it have been corrected, so that its own error is left, and that which
    reaches it through what is not linear. All of it is one run of the data, each part of the graph on all batches
    before the next. So the activations that are still to be read are kept, for as many batches as take `most_bytes`
    together, and at least one. The graph stays as it is. Raises as `channel_means` does.
    """
    executor = Executor(graph, fetch=[node.output for node in wanted], apart=wanted.keys())
    taken = batches_within(executor.bytes_alive, batches, most_bytes)
    shifts: dict[Node, NDArray[np.float64]] = {}

    def look(values: tuple[Value, ...], alive: Sequence[dict[Value, NDArray[Any]]]) -> None:
        for value in values:
            node = value.producer
            found = np.mean([_means(node, arrays[value]) for arrays in alive], axis=0)
            shift = np.mean(wanted[node][: len(alive)], axis=0) - found
            shifts[node] = shift
            for arrays in alive:
                added = _along(node, shift, arrays[value].ndim).astype(arrays[value].dtype)
                arrays[value] = arrays[value] + added

    if taken:
        executor.run_together(taken, look)
    return Corrections(shifts, len(taken))


def _means(node: Node, array: NDArray[Any]) -> NDArray[np.float64]:
    axis = _axis(node, array.shape)
    others = tuple(index for index in range(array.ndim) if index != axis)
    means: NDArray[np.float64] = array.mean(axis=others, dtype=np.float64)
    if not np.isfinite(means).all():
        raise _not_finite(node)
    return means


def _along(node: Node, shift: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """The numbers of the channels in the shape that goes with an output of so many axes."""
    shape = [1] * rank
    shape[_axis(node, (0,) * rank)] = len(shift)
    return shift.reshape(shape)


def _axis(node: Node, shape: tuple[int, ...]) -> int:
    return linear_trait(node).channel_axis(node, shape)


def _not_finite(node: Node) -> DiagnosticError:
    message = f"the output of layer `{node.name}` holds NaN or Inf, and so would its mean"
    return error("AM404", message, help="check the calibration data and the weights up to the layer")
