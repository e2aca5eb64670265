"""Patterns of layers: `{conv:linear -> BatchNorm?, _} -> Eltwise[operation=SUM]`.

The language is in docs/patterns.md; `amctc.pipeline.matching` finds what matches. A pattern is compiled to
an automaton of positions: one for each step of the text, which leads to those that may follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from amctc.ir import Graph, Node, Value
from amctc.pipeline.conditions import TRAITS, Condition
from amctc.pipeline.pattern_syntax import Chain, Choice, Join, Part, PatternError, Repeat, Step, parse_chain

__all__ = ["TRAITS", "Join", "Match", "NearMiss", "Pattern", "PatternError", "Position", "Read", "parse_pattern"]


@dataclass(frozen=True)
class Read:
    """An input that a match goes through: `reader` reads `value`; when `alone`, nobody else does."""

    value: Value
    reader: Node
    index: int
    alone: bool

    def holds(self, graph: Graph) -> bool:
        inputs = self.reader.inputs
        if self.index >= len(inputs) or inputs[self.index] is not self.value:
            return False
        return not self.alone or graph.has_single_use(self.value)


@dataclass(frozen=True, eq=False)
class Match:
    """Layers that a pattern fits, in topological order, each once; what the pattern names can be had by name."""

    nodes: tuple[Node, ...]
    named: Mapping[str, tuple[Node, ...]] = field(default_factory=dict[str, tuple[Node, ...]])
    reads: tuple[Read, ...] = ()

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def last(self) -> Node:
        return self.nodes[-1]

    @property
    def rest(self) -> tuple[Node, ...]:
        return self.nodes[1:]

    def __getitem__(self, name: str) -> Node | None:
        """The first layer of that name, None where none is there. KeyError for a name that the pattern lacks."""
        return self.named[name][0] if self.named[name] else None

    def all(self, name: str) -> tuple[Node, ...]:
        """Every layer of that name, in topological order. KeyError for a name that the pattern lacks."""
        return self.named[name]

    def holds(self, graph: Graph) -> bool:
        """Whether all its layers are still in the graph, and still read one another as they did."""
        here = all(node.name in graph and graph.node(node.name) is node for node in self.nodes)
        return here and all(read.holds(graph) for read in self.reads)


@dataclass(frozen=True)
class NearMiss:
    """A layer at which a match ended only because of who else reads it, or how."""

    node: Node
    reason: str


@dataclass(frozen=True)
class Position:
    """A step in its place. `before` are the indices of the positions that may precede it along its first input.

    `begins`: a match, or a branch, may begin here. `alone`: nobody else may read what it reads. `branches` says of a
    step that joins branches at which positions each of them may end (None: any value, which is no part of the match).
    """

    index: int
    condition: Condition
    names: tuple[str, ...]
    alone: bool
    begins: bool
    before: tuple[int, ...]
    branches: tuple[tuple[int, ...] | None, ...] = ()
    ordered: bool = True


@dataclass(frozen=True)
class Pattern:
    """A pattern ready to match: it ends at one of `ends`, and takes `least` layers or more."""

    text: str
    positions: tuple[Position, ...]
    ends: tuple[int, ...]
    least: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


@cache
def parse_pattern(text: str) -> Pattern:
    """Raises `PatternError` for a text that is not a pattern."""
    chain = parse_chain(text)
    builder = _Builder(text)
    whole = builder.part(chain, True)
    positions = builder.positions(whole.first)
    names = dict.fromkeys(name for position in positions for name in position.names)
    return Pattern(text, positions, whole.last, 2 if len(chain.parts) > 1 else 1, tuple(names))


@dataclass(frozen=True)
class _Fragment:
    """The positions at which a part may begin and end, and whether it may be left out."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    optional: bool = False


class _Builder:
    """Numbers the steps and notes which may follow which (Glushkov's automaton)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._steps: list[tuple[Step, tuple[str, ...], bool]] = []
        self._before: list[set[int]] = []
        self._branches: list[tuple[tuple[int, ...] | None, ...]] = []
        self._begins: set[int] = set()
        self._names: list[str] = []

    def positions(self, first: Iterable[int]) -> tuple[Position, ...]:
        begins = self._begins.union(first)
        return tuple(
            Position(
                index,
                step.condition,
                names,
                alone,
                index in begins,
                tuple(sorted(self._before[index])),
                self._branches[index],
                step.join is None or step.join.ordered,
            )
            for index, (step, names, alone) in enumerate(self._steps)
        )

    def part(self, part: Part, alone: bool) -> _Fragment:
        """`alone` is the arrow in front of the part."""
        if isinstance(part, Step):
            return self._step(part, alone)
        if isinstance(part, Chain):
            return self._chain(part, alone)
        if isinstance(part, Choice):
            found = [self.part(each, alone) for each in part.parts]
            first = tuple(index for each in found for index in each.first)
            last = tuple(index for each in found for index in each.last)
            return _Fragment(first, last, any(each.optional for each in found))
        if isinstance(part, Repeat):
            inner = self.part(part.part, alone)
            if part.many:
                self._connect(inner.last, inner.first)
            return _Fragment(inner.first, inner.last, inner.optional or part.optional)
        self._names.append(str(part.name))
        named = self.part(part.part, alone)
        self._names.pop()
        return named

    def _chain(self, chain: Chain, alone: bool) -> _Fragment:
        whole = self.part(chain.parts[0], alone)
        for part, arrow in zip(chain.parts[1:], chain.alone, strict=True):
            after = self.part(part, arrow)
            self._connect(whole.last, after.first)
            last = (*whole.last, *after.last) if after.optional else after.last
            whole = _Fragment(whole.first, last, whole.optional)
        return whole

    def _step(self, step: Step, alone: bool) -> _Fragment:
        branches: list[tuple[int, ...] | None] = []
        if step.join is not None:
            alone = step.join.alone
            for branch in step.join.branches:
                found = self.part(branch, True) if branch is not None else None
                self._begins.update(found.first if found is not None else ())
                branches.append(found.last if found is not None else None)
        index = len(self._steps)
        own = () if step.named is None else (str(step.named),)
        self._steps.append((step, (*self._names, *own), alone))
        self._before.append(set())
        self._branches.append(tuple(branches))
        return _Fragment((index,), (index,))

    def _connect(self, last: Iterable[int], first: Iterable[int]) -> None:
        for index in first:
            if self._branches[index]:
                join = self._steps[index][0].join
                column = join.column if join is not None else 1
                raise PatternError(self._text, column, "nothing may stand before branches")
            self._before[index].update(last)
