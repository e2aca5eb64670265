"""Finding what a pattern matches, in time linear in the graph.

The graph is walked once in topological order. Where a step of the pattern accepts a node, the best match that ends
there is built upon the best ones at the producers of its inputs: the one that begins first, of those the longest, of
those the one with the earlier steps of the pattern. So each node has at most one partial match for each step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from amctc.ir import Graph, Node, Value
from amctc.pipeline.pattern import Match, NearMiss, Pattern, Position, Read


@dataclass(frozen=True)
class Found:
    """`matches` in the order of their first layers, `misses` in the order of the layers that were missed."""

    matches: tuple[Match, ...]
    misses: tuple[NearMiss, ...]


def find_matches(pattern: Pattern, graph: Graph, without: Collection[Node] = ()) -> Found:
    """What the pattern matches, without some nodes that may be no part of a match.

    Of all matches that end at one node only the best counts: the one whose first node (in topological order) comes
    first, of those the one with most steps. They are taken in the order of their first nodes, long ones before
    short ones, each unless a node of it is taken already. So no node is in two matches.
    """
    search = _Search(pattern, graph, without)
    matches = tuple(search.matches())
    owners = {node: match for match in matches for node in match.nodes}
    missed = [
        NearMiss(producer, reason)
        for (producer, reader), reason in search.misses.items()
        if producer not in owners or owners[producer] is not owners.get(reader)
    ]
    return Found(matches, tuple(missed))


@dataclass(slots=True, eq=False)
class _Partial:
    """A partial match: it ends at `node`, which `step` accepted.

    `first` is the place of its first node, `length` how many steps it took. `parts` are what it is built upon, through
    the inputs `through`. `onward` are the partial matches built upon it; `taken` when a node of it is in a match.
    """

    node: Node
    step: Position
    first: int
    length: int
    parts: Sequence[_Partial] = ()
    through: Sequence[int] = ()
    onward: list[_Partial] = field(default_factory=list["_Partial"])
    taken: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """The best has the smallest."""
        return self.first, -self.length


class _Search:
    def __init__(self, pattern: Pattern, graph: Graph, without: Collection[Node]) -> None:
        self._pattern = pattern
        self._inputs = {node: node.inputs for node in graph.nodes}
        self._places = {node: place for place, node in enumerate(graph.nodes)}
        self._outputs = set(graph.outputs)
        self._uses = Counter(value for inputs in self._inputs.values() for value in inputs)
        self._readers = Counter(value for inputs in self._inputs.values() for value in set(inputs))
        self._partials: dict[Node, dict[int, _Partial]] = {}
        self.misses: dict[tuple[Node, Node], str] = {}
        for node in graph.nodes:
            if node not in without:
                self._visit(node)

    def matches(self) -> Iterator[Match]:
        """The matches, each node in one only."""
        for candidate in sorted(self._candidates(), key=lambda partial: partial.rank):
            if not candidate.taken:
                partials = _all_parts(candidate)
                yield self._match(partials)
                self._take({partial.node for partial in partials})

    # -- partial matches -------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        here: dict[int, _Partial] = {}
        for step in self._pattern.positions:
            if step.condition.accepts(node):
                found = self._joined(step, node) if step.branches else self._chained(step, node)
                if found is not None:
                    here[step.index] = found
        if here:
            self._partials[node] = here
        for partial in here.values():
            for part in partial.parts:
                part.onward.append(partial)

    def _chained(self, step: Position, node: Node) -> _Partial | None:
        if step.before:
            for index, value in enumerate(self._inputs[node]):
                best = self._best_at(value, step.before)
                if best is None:
                    continue
                reason = self._obstacle(value, step.alone) if index == 0 else _wrong_input(node, index)
                if reason is None:
                    return _Partial(node, step, best.first, best.length + 1, (best,), (0,))
                self.misses.setdefault((value.producer, node), reason)
        return _Partial(node, step, self._places[node], 1) if step.begins else None

    def _joined(self, step: Position, node: Node) -> _Partial | None:
        inputs = self._inputs[node]
        if len(inputs) != len(step.branches):
            return None
        best: _Partial | None = None
        orders = [range(len(inputs))] if step.ordered else permutations(range(len(inputs)))
        for order in orders:
            found = self._joined_in(order, step, node, inputs)
            if found is not None and (best is None or found.rank < best.rank):
                best = found
        return best

    def _joined_in(self, order: Sequence[int], step: Position, node: Node, inputs: Sequence[Value]) -> _Partial | None:
        """The partial match where branch i is read through input `order[i]`."""
        through = [index for index, ends in zip(order, step.branches, strict=True) if ends is not None]
        found = [self._best_at(inputs[index], ends) for index, ends in zip(order, step.branches, strict=True) if ends]
        parts = [part for part in found if part is not None]
        if len(parts) != len(found):
            return None
        missed = {inputs[index]: self._obstacle(inputs[index], step.alone) for index in through}
        if any(missed.values()):
            for value, reason in missed.items():
                if reason is not None:
                    self.misses.setdefault((value.producer, node), reason)
            return None
        first = min([part.first for part in parts], default=self._places[node])
        return _Partial(node, step, first, 1 + sum(part.length for part in parts), parts, through)

    def _best_at(self, value: Value, ends: Iterable[int]) -> _Partial | None:
        here = self._partials.get(value.producer)
        if here is None:
            return None
        return min((here[index] for index in ends if index in here), key=lambda partial: partial.rank, default=None)

    def _obstacle(self, value: Value, alone: bool) -> str | None:
        """Why a step must not read the value; None where it may."""
        if not alone:
            return None
        producer = value.producer
        if len(producer.outputs) != 1:
            return f"`{producer.name}` has {len(producer.outputs)} outputs"
        if self._readers[value] > 1:
            return f"`{producer.name}` is read by {self._readers[value]} layers"
        if self._uses[value] > 1:
            return f"`{producer.name}` is read {self._uses[value]} times by one layer"
        return f"`{producer.name}` is an output of the network" if value in self._outputs else None

    # -- matches ---------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[_Partial]:
        for here in self._partials.values():
            whole = [here[end] for end in self._pattern.ends if end in here]
            best = min(whole, key=lambda partial: partial.rank, default=None)
            if best is not None and best.length >= self._pattern.least:
                yield best

    def _take(self, nodes: Iterable[Node]) -> None:
        """Mark every partial match with one of the nodes; each is marked once, so all of it takes linear time."""
        waiting = [partial for node in nodes for partial in self._partials[node].values()]
        while waiting:
            partial = waiting.pop()
            if not partial.taken:
                partial.taken = True
                waiting.extend(partial.onward)

    def _match(self, partials: Sequence[_Partial]) -> Match:
        ordered = sorted(partials, key=lambda partial: self._places[partial.node])
        named: dict[str, dict[Node, None]] = {name: {} for name in self._pattern.names}
        for partial in ordered:
            for name in partial.step.names:
                named[name][partial.node] = None
        return Match(
            tuple(dict.fromkeys(partial.node for partial in ordered)),
            {name: tuple(nodes) for name, nodes in named.items()},
            tuple(read for partial in ordered for read in self._reads(partial)),
        )

    def _reads(self, partial: _Partial) -> Iterator[Read]:
        for index in partial.through:
            yield Read(self._inputs[partial.node][index], partial.node, index, partial.step.alone)


def _all_parts(whole: _Partial) -> list[_Partial]:
    """A match and everything it is built upon, each once."""
    found: dict[_Partial, None] = {}
    waiting = [whole]
    while waiting:
        partial = waiting.pop()
        if partial not in found:
            found[partial] = None
            waiting.extend(partial.parts)
    return list(found)


def _wrong_input(node: Node, index: int) -> str:
    ordinals = {1: "second", 2: "third", 3: "fourth"}
    which = f"its {ordinals[index]} input" if index in ordinals else f"its input number {index + 1}"
    return f"`{node.name}` reads it through {which}"
