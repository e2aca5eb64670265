"""The edges of a graph: their texts, their ends, and that they make no cycle."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amctc.air.schema import GraphDef, OpDef
from amctc.air.verify.report import Report, Where, counted, shown

CONTROL = -1
"""The output index of a control edge."""

_BACK_EDGES = frozenset({"NextIteration", "RefNextIteration"})
"""Ops whose output goes back to the head of a loop: a cycle through one is meant."""

_INDEX = re.compile(r"0|-?[1-9][0-9]{0,9}")
_MOST_OF_A_CYCLE = 8


@dataclass(frozen=True)
class End:
    """`node:index` taken apart."""

    node: str
    index: int


def read_end(text: str) -> End | str:
    """The two parts of `node:index`, or what is wrong with it. The last colon counts: names may have others."""
    node, colon, index = text.rpartition(":")
    if not colon:
        return "has no `:` with an index behind it"
    if _INDEX.fullmatch(index) is None:
        return f"has the index {shown(index)}, which is not a whole number as GE writes it"
    return End(node, int(index))


def check_edges(graph: GraphDef, nodes: Mapping[str, int], where: Where, report: Report) -> None:
    """AM366 to AM370: the `input` of every op. `nodes` gives the place of a name, `where` what to call each op."""
    feeds: list[list[int]] = [[] for _ in graph.op]
    for number, op in enumerate(graph.op):
        _check_op(graph, nodes, number, where(number), feeds, report)
        if number in feeds[number] and op.type not in _BACK_EDGES:
            report.error("AM370", f"{where(number)} takes its own output", "a graph must not have cycles")
    _check_cycles(graph, feeds, where, report)


def _check_op(
    graph: GraphDef, nodes: Mapping[str, int], number: int, where: str, feeds: list[list[int]], report: Report
) -> None:
    op = graph.op[number]
    slots = len(op.input_desc)
    slot, controls = 0, 0
    for text in op.input:
        end = read_end(text) if text else None
        if isinstance(end, str):
            help = "an input is `node:output`, `node:-1` for a control edge, or empty where there is none"
            report.error("AM366", f"{where}: the input {shown(text)} {end}", help)
        elif end is not None and end.index < CONTROL:
            help = "loaders take any negative index for a control edge, which is written -1"
            report.error("AM366", f"{where}: the input {shown(text)} has the index {end.index}", help)
        if isinstance(end, End):
            source = _source(graph, nodes, end, text, where, report)
            if source is not None:
                feeds[source].append(number)
            if end.index < 0:
                controls += 1
                continue
        if controls:
            help = "control edges stand behind all others"
            report.error("AM366", f"{where}: input {slot} stands behind a control edge", help)
            controls = 0
        slot += 1
    if slot > slots:
        help = "there is one descriptor for each input, also for one that is left out"
        report.error("AM368", f"{where} has {counted(slot, 'input')}, but {counted(slots, 'input descriptor')}", help)
    elif slot < slots:
        help = "write an empty text for each input that is left out"
        report.error("AM369", f"{where} has {counted(slot, 'input')} for {counted(slots, 'input descriptor')}", help)


def _source(graph: GraphDef, nodes: Mapping[str, int], end: End, text: str, where: str, report: Report) -> int | None:
    """The number of the op that an edge comes from, where both it and its output are there."""
    source = nodes.get(end.node)
    if source is None:
        report.error("AM367", f"{where}: the input {shown(text)} comes from no node of the graph")
        return None
    outputs = len(graph.op[source].output_desc)
    if end.index >= outputs:
        help = f"{shown(end.node)} has {counted(outputs, 'output descriptor')}"
        report.error("AM368", f"{where}: the input {shown(text)} comes from an output that there is not", help)
        return None
    return source


def _check_cycles(graph: GraphDef, feeds: Sequence[Sequence[int]], where: Where, report: Report) -> None:
    """AM370 for one cycle of several ops, if there is any."""
    edges = [
        () if graph.op[source].type in _BACK_EDGES else [taker for taker in takers if taker != source]
        for source, takers in enumerate(feeds)
    ]
    cycle = find_cycle(edges)
    if cycle is None:
        return
    names = [where(number) for number in cycle[:_MOST_OF_A_CYCLE]]
    more = f" and {len(cycle) - len(names)} more" if len(cycle) > len(names) else ""
    help = "a graph must not have cycles; a loop goes through a NextIteration"
    report.error("AM370", f"{len(cycle)} ops feed each other in a circle: {', '.join(names)}{more}", help)


def find_cycle(edges: Sequence[Sequence[int]]) -> list[int] | None:
    """A cycle of a graph whose nodes are numbered, in the order of its edges; None where there is none."""
    waits = [0] * len(edges)
    for takers in edges:
        for taker in takers:
            waits[taker] += 1
    ready = deque(number for number, count in enumerate(waits) if not count)
    while ready:
        for taker in edges[ready.popleft()]:
            waits[taker] -= 1
            if not waits[taker]:
                ready.append(taker)
    left = {number for number, count in enumerate(waits) if count}
    if not left:
        return None
    # Each that is left has a source that is left, so that going back must come round.
    source_of = {taker: source for source in sorted(left) for taker in edges[source] if taker in left}
    path: dict[int, None] = {}
    number = min(left)
    while number not in path:
        path[number] = None
        number = source_of[number]
    back = list(path)
    return back[back.index(number) :][::-1]


def inputs_of(op: OpDef) -> list[str]:
    """The texts of an op's data inputs by slot: control edges are left out, one that is left out is empty."""
    return [text for text in op.input if not text.endswith(":-1")]
