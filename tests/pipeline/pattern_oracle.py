"""Patterns as the tests build them, and what they match by trying everything: for small graphs only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import TypeAlias

from amctc.ir import Graph, Node, Value


@dataclass(frozen=True)
class Layer:
    """One layer of one of these types."""

    types: str

    def __str__(self) -> str:
        return "|".join(self.types)


@dataclass(frozen=True)
class Many:
    part: Expression
    sign: str

    def __str__(self) -> str:
        return f"({self.part}){self.sign}"


@dataclass(frozen=True)
class Either:
    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return "|".join(f"({part})" for part in self.parts)


@dataclass(frozen=True)
class Row:
    """Parts with arrows between them."""

    parts: tuple[Expression, ...]
    arrows: tuple[str, ...]

    def __str__(self) -> str:
        first, *rest = (str(part) if isinstance(part, Many) else f"({part})" for part in self.parts)
        return first + "".join(f" {arrow} {part}" for arrow, part in zip(self.arrows, rest, strict=True))


@dataclass(frozen=True)
class Meeting:
    """Branches (None for `.`) that one layer joins."""

    branches: tuple[Expression | None, ...]
    ordered: bool
    arrow: str
    layer: Layer

    def __str__(self) -> str:
        inner = ", ".join("." if branch is None else str(branch) for branch in self.branches)
        group = f"({inner})" if self.ordered else f"{{{inner}}}"
        return f"{group} {self.arrow} {self.layer}"


Expression: TypeAlias = "Layer | Many | Either | Row | Meeting"


@dataclass(frozen=True)
class Item:
    """One layer of a word, the arrow in front of it, and the branches that it joins."""

    types: str
    arrow: str
    meeting: Meeting | None = None


Word: TypeAlias = tuple[Item, ...]


def words(part: Expression, longest: int, arrow: str = "->") -> set[Word]:
    """Every row of layers that a part can stand for, none longer than `longest`."""
    if isinstance(part, Layer):
        return {(Item(part.types, arrow),)}
    if isinstance(part, Meeting):
        return {(Item(part.layer.types, part.arrow, part),)}
    if isinstance(part, Either):
        return {word for each in part.parts for word in words(each, longest, arrow)}
    if isinstance(part, Row):
        found = words(part.parts[0], longest, arrow)
        for own, each in zip(part.arrows, part.parts[1:], strict=True):
            found = _joined(found, words(each, longest, own), longest)
        return found
    once = words(part.part, longest, arrow)
    found = {()} | once if part.sign in "?*" else once
    while part.sign in "*+":
        more = found | _joined(found, once, longest)
        if more == found:
            break
        found = more
    return found


def _joined(first: set[Word], second: set[Word], longest: int) -> set[Word]:
    return {(*a, *b) for a, b in product(first, second) if len(a) + len(b) <= longest}


@dataclass(frozen=True)
class Way:
    """One way to match: the nodes, and how many steps it took."""

    nodes: frozenset[Node]
    steps: int

    def rank(self, graph: Graph) -> tuple[int, int]:
        return min(graph.nodes.index(node) for node in self.nodes), -self.steps


def ways(part: Expression, graph: Graph, end: Node) -> set[Way]:
    """Every way in which a part matches with its last layer at `end`."""
    return {way for word in words(part, len(graph)) if word for way in _ways(word, graph, end)}


def _ways(word: Word, graph: Graph, end: Node) -> Iterator[Way]:
    item = word[-1]
    if end.type not in item.types:
        return
    if item.meeting is not None:
        yield from _meetings(item.meeting, graph, end)
    elif len(word) == 1:
        yield Way(frozenset({end}), 1)
    elif end.inputs and may_read(graph, end.inputs[0], item.arrow):
        for way in _ways(word[:-1], graph, end.inputs[0].producer):
            yield Way(way.nodes | {end}, way.steps + 1)


def _meetings(meeting: Meeting, graph: Graph, end: Node) -> Iterator[Way]:
    count = len(meeting.branches)
    if count != len(end.inputs):
        return
    for order in [tuple(range(count))] if meeting.ordered else permutations(range(count)):
        choices: list[set[Way]] = []
        for branch, index in zip(meeting.branches, order, strict=True):
            value = end.inputs[index]
            if branch is None:
                continue
            choices.append(ways(branch, graph, value.producer) if may_read(graph, value, meeting.arrow) else set())
        for chosen in product(*choices):
            nodes = frozenset({end}).union(*(way.nodes for way in chosen))
            yield Way(nodes, 1 + sum(way.steps for way in chosen))


def may_read(graph: Graph, value: Value, arrow: str) -> bool:
    if arrow == "=>":
        return True
    reads = [(node, index) for node in graph.nodes for index, read in enumerate(node.inputs) if read is value]
    return len(reads) == 1 and len(value.producer.outputs) == 1 and all(output is not value for output in graph.outputs)
