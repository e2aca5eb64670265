"""The edges of a GE graph: which op's output fills which slot, which ops must run before others, an order of all."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from amctc.air.schema import GraphDef, OpDef

CONTROL = -1


@dataclass(frozen=True)
class Edge:
    """Output number `output` of the op `source`."""

    source: str
    output: int


@dataclass(frozen=True)
class OpEdges:
    """What an op reads: an edge or None for each slot, in order, and the ops that must run before it."""

    slots: tuple[Edge | None, ...]
    controls: tuple[str, ...]


def edges_of(op: OpDef) -> OpEdges:
    """The edges in the `input` strings of an op."""
    slots: list[Edge | None] = []
    controls: list[str] = []
    for text in op.input:
        edge = parse_edge(text)
        if edge is not None and edge.output == CONTROL:
            controls.append(edge.source)
        else:
            slots.append(edge)
    return OpEdges(tuple(slots), tuple(controls))


def parse_edge(text: str) -> Edge | None:
    """`name:number`; None for an empty text."""
    name, _, number = text.rpartition(":")
    return Edge(name, int(number)) if name else None


def ordered(graph: GraphDef, edges: Mapping[str, OpEdges]) -> Sequence[OpDef]:
    """The ops, each behind those that it reads or that must run before it, and else as in the file."""
    ops = list(graph.op)
    number = {op.name: index for index, op in enumerate(ops)}
    readers: dict[int, list[int]] = {}
    left = [0] * len(ops)
    for index, op in enumerate(ops):
        for source in _sources(edges[op.name]):
            readers.setdefault(number[source], []).append(index)
            left[index] += 1
    ready = [index for index, count in enumerate(left) if not count]
    heapq.heapify(ready)
    found: list[OpDef] = []
    while ready:
        index = heapq.heappop(ready)
        found.append(ops[index])
        for reader in readers.get(index, ()):
            left[reader] -= 1
            if not left[reader]:
                heapq.heappush(ready, reader)
    return found


def _sources(edges: OpEdges) -> Iterable[str]:
    return {*(edge.source for edge in edges.slots if edge is not None), *edges.controls}
