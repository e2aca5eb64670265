"""remove-dead: take out layers that no output of the network needs.

    Given   data -> conv1: Convolution -> out, data -> conv2: Convolution -> hush: Silence
    Result  data -> conv1: Convolution -> out

A layer is needed if one of its outputs is an output of the network or is read by a layer that is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import chosen_by_policy, is_awaited, layers, silence
from amctc.pipeline.pass_ import Pass


@dataclass(frozen=True)
class RemoveDead(Pass):
    """Remove layers that no output of the network needs, with the Silence layers that swallow what they give.

    Inputs of the network stay even if nobody reads them: whoever feeds them may go on doing so. Layers that do
    something besides their outputs stay (observers, HDF5Output, custom layers), those that others wait for by a control
    edge, and layers that the policy names to be quantized. Where a layer stays and a top of it is read no more, a
    Silence reads that, so that it does not become an output of the network. A network whose outputs are none, or
    inputs, is left as it is.
    """

    name: ClassVar[str] = "remove-dead"
    preserves_numbers: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        if all(op_def(value.producer).source for value in graph.outputs):
            return False
        live = self._live(graph, context)
        reads = {node: node.inputs for node in graph.nodes if node not in live and not op_def(node).source}
        unread = _unread(graph, live, reads)
        swallowed: set[Value] = set()
        for node in [node for node in reads if op_def(node).swallows and unread.keys() >= set(reads[node])]:
            swallowed.update(reads.pop(node))
        if not reads:
            return False
        for value in unread:
            if value not in swallowed:
                silence(graph, value, self.name)
        _remove(graph, reads, self.name)
        context.counts["removed"] += len(reads)
        return True

    def _live(self, graph: Graph, context: Context) -> set[Node]:
        kept = [
            node for node in graph.nodes if op_def(node).effect or node.quant is not None or is_awaited(node, context)
        ]
        live = _needed_by([*(value.producer for value in graph.outputs), *kept])
        chosen = {
            node: reason
            for node in graph.nodes
            if node not in live and (reason := chosen_by_policy(node, context)) is not None
        }
        for node, reason in chosen.items():
            context.refuse(self.name, node.name, reason)
        return live | _needed_by(chosen) if chosen else live


def _needed_by(nodes: Iterable[Node]) -> set[Node]:
    """The nodes and all those that they read from."""
    needed: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(value.producer for value in node.inputs)
    return needed


def _unread(graph: Graph, live: set[Node], reads: Mapping[Node, Sequence[Value]]) -> dict[Value, None]:
    """What layers that stay compute and only others have read: those of `reads`, with what each of them reads."""
    outputs = set(graph.outputs)
    found: dict[Value, None] = {}
    for value in (value for values in reads.values() for value in values if value.producer in live):
        if value in found or value in outputs or op_def(value.producer).source:
            continue
        if not any(use.node in live for use in graph.uses(value)):
            found[value] = None
    return found


def _remove(graph: Graph, dead: dict[Node, tuple[Value, ...]], by: str) -> None:
    """Remove nodes, of which each is given with what it reads, in the order of the graph."""
    readers: dict[Node, list[Node]] = {}
    for node, values in dead.items():
        for producer in {value.producer: None for value in values if value.producer not in dead}:
            readers.setdefault(producer, []).append(node)
    for node in reversed(dead):
        graph.remove(node)
    for producer, nodes in readers.items():
        producer.record(by, f"is no longer read by {layers(nodes)}, which no output needs")
