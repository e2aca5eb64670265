"""How a graph is cut: ONNX Runtime segments and host ops, in turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from amctc.dialects.onnx.element_types import OPAQUE
from amctc.dialects.table import is_foreign, op_def
from amctc.ir import Graph, Node, Value
from amctc.runtime.hostops import HostOp, host_ops_of
from amctc.runtime.hostops.custom import missing_host_op

MOST_NODES = 1000
"""So many nodes go into one session: the time that ONNX Runtime takes to build it grows with their square."""


@dataclass(frozen=True)
class Shown:
    """How many bytes each value takes that is to be shown, and where a segment ends: when it shows so many."""

    sizes: Mapping[Value, int]
    most: int

    def of(self, node: Node) -> int:
        return sum(self.sizes.get(value, 0) for value in node.outputs)


@dataclass(frozen=True)
class Segment:
    """Nodes that run in one ONNX Runtime session; `inputs` come from earlier steps, `outputs` are read later."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class HostStep:
    """One node that Python runs."""

    node: Node
    op: HostOp

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @property
    def inputs(self) -> tuple[Value, ...]:
        return self.node.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        return self.node.outputs


def needed_nodes(graph: Graph, fetch: Iterable[Value]) -> list[Node]:
    """The nodes that the fetched values depend on, in order."""
    needed: set[Node] = set()
    waiting = [value.producer for value in fetch]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(value.producer for value in node.inputs)
    return [node for node in graph.nodes if node in needed]


def make_plan(
    graph: Graph,
    fetch: Sequence[Value],
    dtypes: Mapping[Value, str],
    host_ops: Sequence[HostOp],
    apart: Collection[Node] = (),
    shown: Shown | None = None,
) -> tuple[Segment | HostStep, ...]:
    """Steps that compute the fetched values, each after those it reads from.

    A node's level grows by one wherever data pass from ONNX Runtime to a host op or back, so the
    number of sessions is the smallest for the longest such chain, but for very many nodes and for what is `shown`.
    `host_ops` come before the built-in ones.
    What reads a node that is to be kept `apart` stands in a later step than this. O(nodes + edges). Raises
    `DiagnosticError` (AM436) for a custom layer, or one of a registered op, that no host op runs.
    """
    level: dict[Node, int] = {}
    taken: dict[Node, HostOp] = {}
    onnx: dict[int, list[Node]] = {}
    host: dict[int, list[Node]] = {}
    for node in needed_nodes(graph, fetch):
        if op_def(node).source:
            level[node] = 0
            continue
        op = next((op for op in (*host_ops, *host_ops_of(node.dialect)) if op.applies(node, dtypes)), None)
        if op is None and is_foreign(node):
            raise missing_host_op(node)
        reached = max((level[v.producer] + 2 * (v.producer in apart) for v in node.inputs), default=0)
        if op is not None:
            taken[node] = op
        # Even levels are ONNX Runtime's, odd ones the host's.
        level[node] = reached if reached % 2 == (op is not None) else reached + 1
        (host if op is not None else onnx).setdefault(level[node], []).append(node)
    fetched = set(fetch)
    steps: list[Segment | HostStep] = []
    for number in sorted({*onnx, *host}):
        if number in onnx:
            nodes = onnx[number]
            steps.extend(_segment(part, fetched) for part in _parts(nodes, dtypes, shown))
        steps.extend(HostStep(node, taken[node]) for node in host.get(number, ()))
    return tuple(steps)


def _parts(nodes: Sequence[Node], dtypes: Mapping[Value, str], shown: Shown | None) -> Iterator[list[Node]]:
    """The nodes of one level in sessions of MOST_NODES, or fewer that show enough.

    More where a sequence would have to go from one to the next: sequences and the like have no type that the inputs of
    a session could be declared with. A session that shows enough ends where only shown values go on to the next one,
    and only weighted layers read them there. ONNX Runtime joins the ops before and behind a value that nobody sees, and
    adds to a convolution's sums what lies in its own layout; apart, both would round otherwise.
    """
    part: list[Node] = []
    showing = 0
    inside = set(nodes)
    waiting: dict[Value, int] = {}
    joined: set[Value] = set()
    for node in nodes:
        part.append(node)
        for value in node.inputs:
            if value in waiting:
                waiting[value] -= 1
                if not waiting[value]:
                    del waiting[value]
        for value in node.outputs:
            readers = [use.node for use in node.graph.uses(value) if use.node in inside]
            if readers:
                waiting[value] = len(readers)
            if shown is None or value not in shown.sizes or any(op_def(reader).linear is None for reader in readers):
                joined.add(value)
        showing += shown.of(node) if shown is not None else 0
        if len(part) >= MOST_NODES:
            full = not any(dtypes[value] == OPAQUE for value in waiting)
        else:
            full = shown is not None and showing >= shown.most and joined.isdisjoint(waiting)
        if full:
            yield part
            part, showing = [], 0
    if part:
        yield part


def _segment(nodes: list[Node], fetched: set[Value]) -> Segment:
    inside = set(nodes)
    inputs = dict.fromkeys(v for node in nodes for v in node.inputs if v.producer not in inside)
    outputs = [
        value
        for node in nodes
        for value in node.outputs
        if value in fetched or any(use.node not in inside for use in node.graph.uses(value))
    ]
    return Segment(tuple(nodes), tuple(inputs), tuple(outputs))


class Reading(Protocol):
    """A step that reads and gives values."""

    @property
    def inputs(self) -> tuple[Value, ...]: ...

    @property
    def outputs(self) -> tuple[Value, ...]: ...


def last_readers(steps: Iterable[Reading]) -> dict[int, list[Value]]:
    """After which step each value is read no more."""
    last: dict[Value, int] = {}
    for number, step in enumerate(steps):
        last.update(dict.fromkeys([*step.inputs, *step.outputs], number))
    found: dict[int, list[Value]] = {}
    for value, number in last.items():
        found.setdefault(number, []).append(value)
    return found
