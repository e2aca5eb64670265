"""Running a graph, whole or from one layer to another, on the memory of a net's blobs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from amctc.compat.caffe.errors import as_caffe_errors, refusal
from amctc.dialects.shapes import check_weights, infer_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.runtime.executor import Executor, blob_values, read_inputs
from amctc.runtime.plan import needed_nodes

_KEPT = 4
"""Executors, each with sessions of its own: the usual one, that of all blobs, and those of parts."""


@dataclass(frozen=True)
class Part:
    """Some layers of a net, as a graph.

    `inputs` are the blobs that are read from memory; `results` is, for each blob that the layers
    write, its last value.
    """

    graph: Graph
    inputs: tuple[str, ...]
    results: Mapping[str, Value]


class Engine:
    """Runs parts of a graph. Sessions are kept from run to run; `forget` them when weights change."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: tuple[Node, ...] = graph.nodes
        self._part = lru_cache(maxsize=_KEPT)(self._make_part)
        self._executors: OrderedDict[object, Executor] = OrderedDict()

    def forget(self) -> None:
        """Build everything anew, as weights have changed."""
        self._part.cache_clear()
        self._executors.clear()

    def part(self, start: int, end: int) -> Part:
        """The layers number `start` to `end`, both of them included.

        Raises `CaffeError` (AM661) where such a part begins with integers.
        """
        return self._part(start, end)

    def run(self, part: Part, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[Value]) -> dict[Value, NDArray[Any]]:
        """The values for one batch. Raises `CaffeError`."""
        if not fetch:
            return {}
        shapes = {name: array.shape for name, array in feeds.items()}
        key = (id(part.graph), tuple(fetch), tuple(shapes.items()))
        with as_caffe_errors():
            executor = self._executors.pop(key, None)
            if executor is None:
                executor = _executor(part.graph, shapes, fetch)
            while len(self._executors) >= _KEPT:
                self._executors.popitem(last=False)
            self._executors[key] = executor
            return executor.run(feeds)

    def _make_part(self, start: int, end: int) -> Part:
        graph = self.graph if (start, end) == (0, len(self.layers) - 1) else _cut(self.layers[start : end + 1])
        computed = {name: value for name, value in blob_values(graph).items() if not op_def(value.producer).source}
        return Part(graph, tuple(read_inputs(graph)), computed)


def is_repeatable(graph: Graph) -> bool:
    """Whether a second run on the same inputs gives the same, and does nothing else: no memory of earlier runs."""
    rows = {node: op_def(node) for node in graph.nodes}
    return not any(row.recurrent or (row.effect and node.op != "quant.Observe") for node, row in rows.items())


def is_undisturbed(graph: Graph, fetch: Sequence[Value], more: Sequence[Value]) -> bool:
    """Whether `fetch` is computed the same way, bit for bit, when `more` is fetched in the same run.

    That holds where everything else reads only inputs and what is fetched anyway: then ONNX Runtime
    merges the same layers into one as without it.
    """
    wanted, own = set(fetch), set(needed_nodes(graph, fetch))
    read = [value for node in needed_nodes(graph, more) if node not in own for value in node.inputs]
    return all(
        value.producer not in own or value in wanted or op_def(value.producer).source for value in (*more, *read)
    )


def _executor(graph: Graph, shapes: Mapping[str, Shape], fetch: Sequence[Value]) -> Executor:
    known = infer_shapes(graph, shapes)
    nodes = [node for node in graph.nodes if all(value in known for value in node.inputs)]
    check_weights(nodes, known)
    return Executor(graph, shapes=shapes, fetch=fetch)


def _cut(layers: Sequence[Node]) -> Graph:
    """The layers as a graph of their own; what they read of other layers becomes an input of the blob's name."""
    graph = Graph("part")
    made: dict[Value, Value] = {}
    names = {node.name for node in layers}
    for node in layers:
        if node.op == "quant.Observe":
            continue
        for value in node.inputs:
            if value not in made:
                made[value] = _outside(graph, value, names)
        copy = graph.add(
            node.name,
            node.op,
            [made[value] for value in node.inputs],
            [value.blob for value in node.outputs],
            attrs=node.attrs,
            weights=node.weights,
            provenance=node.provenance,
        )
        made.update(zip(node.outputs, copy.outputs, strict=True))
    return graph


def _outside(graph: Graph, value: Value, taken: set[str]) -> Value:
    if value.dtype != "float32":
        message = f"a part of the net cannot begin behind `{value.producer.name}`, which gives integers ({value.dtype})"
        raise refusal("AM661", message, help="let it begin at the Quant layer before")
    name = f"{value.blob} (given)"
    while name in taken or name in graph:
        name += "'"
    return graph.add(name, "caffe.Input", [], [value.blob]).output
