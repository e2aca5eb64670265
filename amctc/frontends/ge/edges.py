"""The edges of a GE graph: which op's output fills which slot, which ops must run before others, an order of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amctc.air.schema import GraphDef, OpDef
from amctc.air.verify.edges import CONTROL, End, read_end
from amctc.frontends.order import in_order


@dataclass(frozen=True)
class OpEdges:
    """What an op reads: the end of an edge or None for each slot, in order, and the ops that must run before it."""

    slots: tuple[End | None, ...]
    controls: tuple[str, ...]


def edges_of(op: OpDef) -> OpEdges:
    """The edges in the `input` strings of an op that has been verified."""
    ends = [parse_end(text) if text else None for text in op.input]
    controls = tuple(end.node for end in ends if end is not None and end.index == CONTROL)
    return OpEdges(tuple(end for end in ends if end is None or end.index != CONTROL), controls)


def parse_end(text: str) -> End:
    """`node:index` taken apart. ValueError where it is none, which verifying would have told."""
    end = read_end(text)
    if isinstance(end, str):
        raise ValueError(f"{text!r} {end}")
    return end


def ordered(graph: GraphDef, edges: Mapping[str, OpEdges]) -> tuple[Sequence[OpDef], Sequence[OpDef]]:
    """The ops, each behind those that it reads or that must run before it, and else as in the file; and those in loops.

    The latter read their own results, or those of one that does.
    """
    number = {op.name: index for index, op in enumerate(graph.op)}
    waiting = [{number[source] for source in _sources(edges[op.name])} for op in graph.op]
    order, loop = in_order(waiting)
    return [graph.op[index] for index in order], [graph.op[index] for index in loop]


def _sources(edges: OpEdges) -> set[str]:
    return {*(end.node for end in edges.slots if end is not None), *edges.controls}
