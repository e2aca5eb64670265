"""Graph, Node and Value: a thin, typed face on a `networkx.MultiDiGraph`.

The MultiDiGraph is the only holder of the topology: its node keys are layer names, and an edge
`src -> dst` with data `(out, into)` is one use of `src`'s output number `out` as `dst`'s input
number `into`. Everything that changes it goes through the verbs of `Graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from amctc.ir.node import Array, Node, Use, Value
from amctc.ir.provenance import Provenance
from amctc.text.plain import Plain


class TooManyChanges(Exception):
    """A graph was changed more often than `allow_changes` said; `count` is how often."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"the graph was changed {count} times")


class Graph:
    """A network: nodes in a stable topological order, and the values that are its outputs."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.outputs: list[Value] = []
        self.attrs: dict[str, Plain] = {}
        self.topology: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        # What networkx's views of nodes and edges look at. A view costs several times as much, and every pass asks
        # for the edges of every node.
        topology: Any = self.topology
        self._node: Mapping[str, Mapping[str, Node]] = topology._node
        self._readers: Mapping[str, Mapping[str, Mapping[int, Mapping[str, int]]]] = topology._succ
        self._sources: Mapping[str, Mapping[str, Mapping[int, Mapping[str, int]]]] = topology._pred
        self._inputs: dict[str, tuple[Value, ...]] = {}
        """What a node reads, by its name, as far as anybody has asked: the edges say it, but are asked all the time."""
        self.created = 0
        self.last_changed: str | None = None
        """The name of the node that a verb added, connected or removed last."""
        self._order: tuple[Node, ...] | None = None
        self._changes = 0
        self._most_changes: int | None = None

    # -- reading ---------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, producers before consumers, otherwise in the source file's order.

        A node that a pass inserted stands beside the node it was inserted for.
        """
        if self._order is None:
            self._order = self._ranked() or self._sorted()
        return self._order

    def _ranked(self) -> tuple[Node, ...] | None:
        """The nodes by rank alone, where that puts producers before consumers, as it mostly does; else None."""
        ranked = sorted((data["node"] for data in self._node.values()), key=_rank)
        seen: set[str] = set()
        for node in ranked:
            if not seen.issuperset(self._sources[node.name]):
                return None
            seen.add(node.name)
        return tuple(ranked)

    def _sorted(self) -> tuple[Node, ...]:
        names = nx.lexicographical_topological_sort(self.topology, key=lambda name: _rank(self.node(name)))
        return tuple(map(self.node, names))

    def node(self, name: str) -> Node:
        """The node of that name; KeyError when there is none."""
        return self._node[name]["node"]

    def __contains__(self, name: object) -> bool:
        return name in self.topology

    def __len__(self) -> int:
        return len(self.topology)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def inputs_of(self, node: Node) -> tuple[Value, ...]:
        known = self._inputs.get(node.name)
        if known is None:
            known = tuple([self.node(src).outputs[out] for _, src, out in self.edges_into(node)])
            self._inputs[node.name] = known
        return known

    def look_anew(self) -> None:
        """Forget what was found out about the edges, which somebody may have changed without the verbs."""
        self._order = None
        self._inputs.clear()

    def edges_into(self, node: Node) -> list[tuple[int, str, int]]:
        """What a node reads, in order: the number of its input, the name of the producer, its output's number."""
        sources = self._sources[node.name]
        return sorted((data["into"], src, data["out"]) for src, keys in sources.items() for data in keys.values())

    def uses(self, value: Value) -> tuple[Use, ...]:
        """Every input that reads the value, in the order of the readers' creation."""
        found = [
            Use(self.node(dst), data["into"])
            for dst, edges in self._readers[value.producer.name].items()
            for data in edges.values()
            if data["out"] == value.index
        ]
        if len(found) > 1:
            found.sort(key=lambda use: (use.node.rank, use.node.created, use.index))
        return tuple(found)

    def is_output(self, value: Value) -> bool:
        return any(output is value for output in self.outputs)

    def has_single_use(self, value: Value) -> bool:
        """Whether exactly one input reads the value and the user does not ask for it either."""
        return len(self.uses(value)) == 1 and not self.is_output(value)

    # -- verbs -----------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        op: str,
        inputs: Sequence[Value] = (),
        blobs: Sequence[str] | None = None,
        *,
        attrs: Mapping[str, Plain] | None = None,
        weights: Mapping[str, Array] | None = None,
        provenance: Provenance | None = None,
        beside: Node | None = None,
    ) -> Node:
        """Add a node that reads `inputs` and has one output for each of `blobs` (default: its name).

        `beside` says next to which node it stands in the stable order. A name that is taken is a
        mistake of the caller: ValueError.
        """
        if name in self.topology:
            raise ValueError(f"a node named {name!r} exists already")
        node = Node(self, name, op, attrs or {}, weights or {}, provenance or Provenance())
        self.created += 1
        node.created = self.created
        node.rank = beside.rank if beside is not None else self.created
        node.outputs = tuple(Value(node, i, blob) for i, blob in enumerate([name] if blobs is None else blobs))
        self.topology.add_node(name, node=node)
        for index, value in enumerate(inputs):
            self._connect(value, node, index)
        self._changed(node)
        return node

    def unused_name(self, wanted: str) -> str:
        """`wanted`, or `wanted_1`, `wanted_2` … when that is taken."""
        name, count = wanted, 0
        while name in self.topology:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def set_input(self, use: Use, value: Value) -> None:
        """Let one input read another value."""
        reader = use.node.name
        for src in list(self.topology.predecessors(reader)):
            if self.topology.has_edge(src, reader, use.index):
                self.topology.remove_edge(src, reader, use.index)
        self._connect(value, use.node, use.index)
        self._changed(use.node)

    def replace_uses(self, old: Value, new: Value, where: Callable[[Use], bool] | None = None) -> None:
        """Let every reader of `old` (for which `where` holds) read `new`.

        Without `where`, `new` also takes the place of `old` among the graph's outputs.
        """
        for use in self.uses(old):
            if where is None or where(use):
                self._move(use, old, new)
        if where is None and self.is_output(old):
            self.outputs = [new if output is old else output for output in self.outputs]

    def insert_before(
        self,
        uses: Iterable[Use],
        name: str,
        op: str,
        *,
        attrs: Mapping[str, Plain] | None = None,
        weights: Mapping[str, Array] | None = None,
        provenance: Provenance | None = None,
    ) -> Node:
        """Put a one-input, one-output node on the edges of `uses`, which all read one value."""
        edges = tuple(uses)
        source = edges[0].node.inputs[edges[0].index]
        node = self.add(name, op, [source], attrs=attrs, weights=weights, provenance=provenance, beside=edges[0].node)
        for use in edges:
            self._move(use, source, node.output)
        return node

    def insert_after(
        self,
        value: Value,
        name: str,
        op: str,
        *,
        attrs: Mapping[str, Plain] | None = None,
        weights: Mapping[str, Array] | None = None,
        provenance: Provenance | None = None,
    ) -> Node:
        """Put a one-input, one-output node behind `value`; every reader and output now takes the new one.

        The new value keeps the blob name, so that the source file's name still means what it meant.
        """
        uses = self.uses(value)
        node = self.add(
            name,
            op,
            [value],
            [value.blob],
            attrs=attrs,
            weights=weights,
            provenance=provenance,
            beside=value.producer,
        )
        for use in uses:
            self._move(use, value, node.output)
        if self.is_output(value):
            self.outputs = [node.output if output is value else output for output in self.outputs]
        return node

    def remove(self, node: Node) -> None:
        """Remove a node that nobody reads; ValueError when somebody does."""
        if self.topology.out_degree(node.name) or any(map(self.is_output, node.outputs)):
            raise ValueError(f"{node.name!r} is still read")
        self.topology.remove_node(node.name)
        self._inputs.pop(node.name, None)
        self._changed(node)

    def bypass(self, node: Node) -> None:
        """Remove a one-output node and let its readers read its first input instead."""
        source = node.inputs[0]
        blob = node.output.blob
        if self.is_output(node.output):
            source.blob = blob
        self.replace_uses(node.output, source)
        self.remove(node)

    def fuse(self, into: Node, node: Node, by: str, what: str) -> None:
        """Remove `node`, whose arithmetic `into` (the producer of its first input) has taken over.

        `into`'s output takes the blob name of the removed one, as an in-place chain would have it.
        """
        into.output.blob = node.output.blob
        into.provenance = into.provenance.absorbing(node.name, *node.provenance.absorbed)
        into.record(by, what)
        self.bypass(node)

    def take_over(self, other: Graph) -> None:
        """Become what another graph is, down to its name; that one must not be used any more."""
        self.name, self.outputs, self.attrs = other.name, other.outputs, other.attrs
        self.topology, self._node = other.topology, other._node
        self._readers, self._sources, self._inputs = other._readers, other._sources, other._inputs
        self.created, self.last_changed = other.created, other.last_changed
        self._order = None
        for node in self.nodes:
            node.graph = self

    def allow_changes(self, most: int | None) -> None:
        """Let verbs raise `TooManyChanges` after `most` changes from now on; None for no limit."""
        self._changes = 0
        self._most_changes = most

    def _changed(self, node: Node) -> None:
        self._order = None
        self.last_changed = node.name
        self._changes += 1
        if self._most_changes is not None and self._changes > self._most_changes:
            raise TooManyChanges(self._changes)

    def _connect(self, value: Value, node: Node, index: int) -> None:
        if value.producer.graph is not self:
            raise ValueError(f"{value.name!r} belongs to another graph")
        # The key finds the edge of an input without a look at the others.
        self.topology.add_edge(value.producer.name, node.name, key=index, out=value.index, into=index)
        self._inputs.pop(node.name, None)

    def _move(self, use: Use, old: Value, new: Value) -> None:
        """`set_input` where the value that the input reads is known: no search among the node's inputs."""
        self.topology.remove_edge(old.producer.name, use.node.name, use.index)
        self._connect(new, use.node, use.index)
        self._changed(use.node)

    # -- comparison ------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        """Whether both graphs have the same nodes, weights, edges, outputs and annotations."""
        if not isinstance(other, Graph):
            return NotImplemented
        if (self.name, self.attrs, len(self)) != (other.name, other.attrs, len(other)):
            return False
        if [v.name for v in self.outputs] != [v.name for v in other.outputs]:
            return False
        return all(_same_node(a, b) for a, b in zip(self.nodes, other.nodes, strict=True))

    __hash__ = object.__hash__


def _rank(node: Node) -> tuple[int, int]:
    return node.rank, node.created


def _same_node(a: Node, b: Node) -> bool:
    if (a.name, a.op, a.attrs, a.provenance, a.quant) != (b.name, b.op, b.attrs, b.provenance, b.quant):
        return False
    if [v.name for v in a.inputs] != [v.name for v in b.inputs] or a.weights.keys() != b.weights.keys():
        return False
    if [(v.blob, v.dtype, v.shape) for v in a.outputs] != [(v.blob, v.dtype, v.shape) for v in b.outputs]:
        return False
    return all(_same_array(array, b.weights[role]) for role, array in a.weights.items())


def _same_array(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
