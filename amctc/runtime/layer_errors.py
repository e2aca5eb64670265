"""What single layers would give with other weights and other data, measured against what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.runtime.executor import Executor

_SOURCE = "onnx.Input"


@dataclass(frozen=True, eq=False)
class Alternative:
    """Other weights for a layer, by role, and other data.

    `data` gives what the layer reads, for what it read or, where there is `reads`, for the numbers of that value.
    `weights` is called when they are needed, so that those of one alternative are alive at a time.
    """

    weights: Callable[[], Mapping[str, Array]]
    data: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    reads: Value | None = None


def layer_errors(
    graph: Graph,
    alternatives: Mapping[Node, Sequence[Alternative]],
    batches: Iterable[Mapping[str, ArrayLike]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[Node, NDArray[np.float64]]:
    """The sum of squared differences in the output of each layer, for each of its alternatives, over all batches.

    Each layer is judged alone, on the data of the graph as it is, with the activation behind it, if that is all that
    reads it: what a ReLU takes away does not count. One batch of activations is alive at a time.
    `progress` is told how many batches are done. Raises what `Executor.run` raises.
    """
    ways = {node: _with_activation(node) for node in alternatives}
    values = [way[-1].output for way in ways.values()]
    values += [each.reads or node.inputs[0] for node, listed in alternatives.items() for each in listed]
    executor = Executor(graph, fetch=list(dict.fromkeys(values)))
    found = {node: np.zeros(len(listed)) for node, listed in alternatives.items()}
    for done, feeds in enumerate(batches, 1):
        arrays = executor.run(feeds)
        for node, listed in alternatives.items():
            way = ways[node]
            wanted = arrays[way[-1].output]
            found[node] += [_error(way, each, arrays[each.reads or node.inputs[0]], wanted) for each in listed]
        progress(done)
    return found


def run_alone(nodes: Sequence[Node], weights: Sequence[Mapping[str, Array]], data: NDArray[Any]) -> NDArray[Any]:
    """What a chain of layers gives, each the only reader of the one before; `weights` replace some of theirs, by role.

    `data` is the first input of the first. Raises what `Executor.run` raises.
    """
    graph = Graph(nodes[0].graph.name)
    graph.attrs.update(nodes[0].graph.attrs)
    source = graph.add(graph.unused_name(f"{nodes[0].name}<0"), _SOURCE)
    source.output.shape, source.output.dtype = data.shape, str(data.dtype)
    value = source.output
    for node, own in zip(nodes, weights, strict=True):
        made = graph.add(node.name, node.op, [value], attrs=node.attrs, weights={**node.weights, **own})
        value = made.output
    graph.outputs = [value]
    return Executor(graph).run({source.output.blob: data})[value]


def _with_activation(node: Node) -> tuple[Node, ...]:
    uses = node.graph.uses(node.output)
    if len(uses) != 1 or node.graph.is_output(node.output):
        return (node,)
    reader = uses[0].node
    return (node, reader) if op_def(reader).activation and len(reader.inputs) == 1 else (node,)


def _error(way: Sequence[Node], alternative: Alternative, data: NDArray[Any], wanted: NDArray[Any]) -> float:
    given = np.asarray(alternative.data(data.astype(np.float32)), data.dtype)
    made = run_alone(way, [alternative.weights(), *({} for _ in way[1:])], given)
    return float(np.square(made.astype(np.float64) - wanted).sum())
