"""Graph, Node and Value: a thin, typed face on a `networkx.MultiDiGraph`.

The MultiDiGraph is the only holder of the topology: its node keys are layer names, and an edge
`src -> dst` with data `(out, into)` is one use of `src`'s output number `out` as `dst`'s input
number `into`. Everything that changes it goes through the verbs of `Graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from amctc.ir.provenance import Change, Origin, Provenance
from amctc.ir.quantization import NodeQuant
from amctc.text.plain import Plain

Array: TypeAlias = NDArray[np.generic]
Shape: TypeAlias = tuple[int, ...]


class Value:
    """One SSA tensor: output number `index` of `producer`.

    `blob` is the name the source file gives it; in-place Caffe layers make several values of one
    blob name. `shape` is unknown (None) until shapes have been inferred.
    """

    __slots__ = ("blob", "dtype", "index", "producer", "shape")

    def __init__(
        self, producer: Node, index: int, blob: str, shape: Shape | None = None, dtype: str = "float32"
    ) -> None:
        self.producer = producer
        self.index = index
        self.blob = blob
        self.shape = shape
        self.dtype = dtype

    @property
    def name(self) -> str:
        """A name no other value of the graph has: `layer` or, from the second output on, `layer:1`."""
        return self.producer.name if self.index == 0 else f"{self.producer.name}:{self.index}"

    def __repr__(self) -> str:
        return f"Value({self.name!r}, shape={self.shape})"


@dataclass(frozen=True)
class Use:
    """Input number `index` of `node`."""

    node: Node
    index: int


class Node:
    """One layer: an op of a dialect, its attributes and its weights by role.

    `op` is `dialect.Type`. `attrs` holds what the source file says of the layer under the source
    format's own field names. `weights` maps a role of the op table to an array.
    """

    __slots__ = ("attrs", "created", "graph", "name", "op", "outputs", "provenance", "quant", "rank", "weights")

    def __init__(
        self,
        graph: Graph,
        name: str,
        op: str,
        attrs: Mapping[str, Plain],
        weights: Mapping[str, Array],
        provenance: Provenance,
    ) -> None:
        self.graph = graph
        self.name = name
        self.op = op
        self.attrs: dict[str, Plain] = dict(attrs)
        self.weights: dict[str, Array] = dict(weights)
        self.outputs: tuple[Value, ...] = ()
        self.provenance = provenance
        self.quant: NodeQuant | None = None
        self.rank = 0
        self.created = 0

    @property
    def dialect(self) -> str:
        return self.op.partition(".")[0]

    @property
    def type(self) -> str:
        """The layer type in the source format's words: `Convolution`."""
        return self.op.partition(".")[2]

    @property
    def inputs(self) -> tuple[Value, ...]:
        return self.graph.inputs_of(self)

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def origin(self) -> Origin | None:
        return self.provenance.origin

    def record(self, by: str, what: str, rule: str | None = None) -> None:
        """Remember that pass `by` changed this node."""
        self.provenance = self.provenance.with_change(Change(by, what, rule))

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.op})"


class Graph:
    """A network: nodes in a stable topological order, and the values that are its outputs."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.outputs: list[Value] = []
        self.attrs: dict[str, Plain] = {}
        self.topology: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        self.created = 0
        self._order: tuple[Node, ...] | None = None

    # -- reading ---------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, producers before consumers, otherwise in the source file's order.

        A node that a pass inserted stands beside the node it was inserted for.
        """
        if self._order is None:
            ranks = {name: (data["node"].rank, data["node"].created) for name, data in self.topology.nodes(data=True)}
            names = nx.lexicographical_topological_sort(self.topology, key=ranks.__getitem__)
            self._order = tuple(self.node(name) for name in names)
        return self._order

    def node(self, name: str) -> Node:
        """The node of that name; KeyError when there is none."""
        node: Node = self.topology.nodes[name]["node"]
        return node

    def __contains__(self, name: object) -> bool:
        return name in self.topology

    def __len__(self) -> int:
        return len(self.topology)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def inputs_of(self, node: Node) -> tuple[Value, ...]:
        edges = [(data["into"], src, data["out"]) for src, _, data in self.topology.in_edges(node.name, data=True)]
        edges.sort(key=lambda edge: edge[0])
        return tuple(self.node(src).outputs[out] for _, src, out in edges)

    def uses(self, value: Value) -> tuple[Use, ...]:
        """Every input that reads the value, in the order of the readers' creation."""
        edges = self.topology.out_edges(value.producer.name, data=True)
        found = [Use(self.node(dst), data["into"]) for _, dst, data in edges if data["out"] == value.index]
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
        self._order = None
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
        for src, _, key, data in list(self.topology.in_edges(use.node.name, keys=True, data=True)):
            if data["into"] == use.index:
                self.topology.remove_edge(src, use.node.name, key)
        self._connect(value, use.node, use.index)
        self._order = None

    def replace_uses(self, old: Value, new: Value, where: Callable[[Use], bool] | None = None) -> None:
        """Let every reader of `old` (for which `where` holds) read `new`.

        Without `where`, `new` also takes the place of `old` among the graph's outputs.
        """
        for use in self.uses(old):
            if where is None or where(use):
                self.set_input(use, new)
        if where is None:
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
            self.set_input(use, node.output)
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
            self.set_input(use, node.output)
        self.outputs = [node.output if output is value else output for output in self.outputs]
        return node

    def remove(self, node: Node) -> None:
        """Remove a node that nobody reads; ValueError when somebody does."""
        if any(self.uses(value) or self.is_output(value) for value in node.outputs):
            raise ValueError(f"{node.name!r} is still read")
        self.topology.remove_node(node.name)
        self._order = None

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

    def _connect(self, value: Value, node: Node, index: int) -> None:
        if value.producer.graph is not self:
            raise ValueError(f"{value.name!r} belongs to another graph")
        self.topology.add_edge(value.producer.name, node.name, out=value.index, into=index)

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
