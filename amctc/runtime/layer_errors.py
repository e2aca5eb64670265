"""What single layers would give with other weights and other data, measured against what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.ir import Graph, Node
from amctc.ir.node import Array
from amctc.runtime.executor import Executor

_SOURCE = "onnx.Input"


@dataclass(frozen=True, eq=False)
class Alternative:
    """Other weights for a layer, by role, and what becomes of its first input.

    `weights` is called when they are needed, so that those of one alternative are alive at a time.
    """

    weights: Callable[[], Mapping[str, Array]]
    data: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def layer_errors(
    graph: Graph,
    alternatives: Mapping[Node, Sequence[Alternative]],
    batches: Iterable[Mapping[str, ArrayLike]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[Node, NDArray[np.float64]]:
    """The sum of squared differences in the output of each layer, for each of its alternatives, over all batches.

    Each layer is judged alone, on the data that it reads in the graph as it is. One batch of activations is alive at a
    time. `progress` is told how many batches are done. Raises what `Executor.run` raises.
    """
    values = [value for node in alternatives for value in (node.inputs[0], node.output)]
    executor = Executor(graph, fetch=list(dict.fromkeys(values)), reuse=True)
    found = {node: np.zeros(len(each)) for node, each in alternatives.items()}
    for done, feeds in enumerate(batches, 1):
        arrays = executor.run(feeds)
        for node, each in alternatives.items():
            data, wanted = arrays[node.inputs[0]], arrays[node.output]
            found[node] += [_error(node, alternative, data, wanted) for alternative in each]
        progress(done)
    return found


def _error(node: Node, alternative: Alternative, data: NDArray[Any], wanted: NDArray[Any]) -> float:
    given = np.asarray(alternative.data(data.astype(np.float32)), data.dtype)
    alone = _alone(node, alternative.weights(), given)
    made = Executor(alone.graph).run({alone.inputs[0].blob: given})[alone.output]
    return float(np.square(made.astype(np.float64) - wanted).sum())


def _alone(node: Node, weights: Mapping[str, Array], data: NDArray[Any]) -> Node:
    """The layer in a graph of its own, which is fed its first input."""
    graph = Graph(node.graph.name)
    graph.attrs.update(node.graph.attrs)
    source = graph.add(graph.unused_name(f"{node.name}<0"), _SOURCE)
    source.output.shape, source.output.dtype = data.shape, str(data.dtype)
    made = graph.add(node.name, node.op, [source.output], attrs=node.attrs, weights={**node.weights, **weights})
    graph.outputs = [made.output]
    return made
