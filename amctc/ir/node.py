"""What a graph is made of: nodes, the values they give, and the uses of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.ir.provenance import Change, Origin, Provenance
from amctc.ir.quantization import NodeQuant
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from amctc.ir.graph import Graph

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

    __slots__ = (
        "_provenance",
        "_recorded",
        "attrs",
        "created",
        "graph",
        "name",
        "op",
        "outputs",
        "quant",
        "rank",
        "weights",
    )

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
        self._provenance = provenance
        self._recorded: list[Change] = []
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

    @property
    def provenance(self) -> Provenance:
        """Where the node came from, and what was done to it."""
        if self._recorded:
            self._provenance = self._provenance.with_changes(self._recorded)
            self._recorded = []
        return self._provenance

    @provenance.setter
    def provenance(self, provenance: Provenance) -> None:
        self._provenance = provenance
        self._recorded = []

    def record(self, by: str, what: str, rule: str | None = None) -> None:
        """Remember that pass `by` changed this node."""
        # Gathered until somebody asks: a node may be changed as often as the graph has nodes.
        self._recorded.append(Change(by, what, rule))

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.op})"
