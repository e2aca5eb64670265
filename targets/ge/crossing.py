"""A graph of the caffe or the onnx dialect as one of the ge dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from amctc.diagnostics import Collector
from amctc.dialects.ge import GE
from amctc.dialects.ge.prototype import port_names, prototypes
from amctc.dialects.ge.slots import note, role_of
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.shapes import annotate_dtypes, node_error
from amctc.dialects.table import op_def
from amctc.dialects.traits import quantizes_inside
from amctc.ir import Graph, Node, Provenance, Value
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

Operand: TypeAlias = "Value | Array | None"
"""What fills a slot: a value of the new graph, a constant, or nothing."""


class Unsayable(Exception):
    """Why GE has no op that does what a node does: what comes behind "layer `x` (Op): "."""


class Crossing:
    """The GE graph while it is being written.

    `values` maps what of the source has been written; `constants` has what of it does not depend on the inputs.
    """

    def __init__(self, source: Graph) -> None:
        self.source = source
        self.graph = Graph(source.name)
        self.values: dict[Value, Value] = {}
        self.constants: dict[Value, Array] = {}
        self._reserved = {node.name for node in source.nodes}

    def inputs(self, node: Node) -> tuple[Value, ...]:
        """The inputs of a source node in the new graph."""
        return tuple(self.value(value) for value in node.inputs)

    def value(self, source: Value) -> Value:
        """A value of the source in the new graph; one that is constant becomes a Const."""
        if source not in self.values:
            made = self.constant(source.producer.name, self.constants[source])
            made.blob = source.blob
            self.values[source] = made
        return self.values[source]

    def constant(self, name: str, array: Array) -> Value:
        """A Const that is a value."""
        made = self.graph.add(self.free_name(name, own=True), f"{GE}.Const", weights={"value": array})
        self._infer(made)
        return made.output

    def op(
        self,
        node: Node,
        type: str,
        operands: Sequence[Operand],
        attributes: Mapping[str, Plain] | None = None,
        *,
        part: str = "",
        outputs: int = 1,
    ) -> Node:
        """A GE op for a source node: its namesake, or beside it the one that does the `part` of it.

        `operands` fill the slots of the op in their order. Raises `Unsayable` where the op does not take them.
        """
        name = self.free_name(f"{node.name}_{part}") if part else node.name
        ports = prototypes()[type].inputs
        names = port_names(ports, max(len(operands), 0 if any(p.dynamic for p in ports) else len(ports)))
        values = [each for each in operands if isinstance(each, Value)]
        weights = {
            role_of(type, slot): each
            for slot, each in zip(names, operands, strict=False)
            if isinstance(each, np.ndarray)
        }
        last = max((index for index, each in enumerate(operands) if isinstance(each, Value)), default=-1)
        absent = tuple(index for index, each in enumerate(operands) if each is None and index < last)
        own = node.provenance if not part else Provenance(node.origin, inserted=True)
        blobs = [name if not index else f"{name}:{index}" for index in range(outputs)]
        made = self.graph.add(
            name, f"{GE}.{type}", values, blobs, attrs=attributes or {}, weights=weights, provenance=own
        )
        if absent:
            note(made, absent=absent)
        if not part:
            made.quant = node.quant
        self._infer(made)
        return made

    def map(
        self, node: Node, type: str, operands: Sequence[Operand], attributes: Mapping[str, Plain] | None = None
    ) -> None:
        """A source node of one output that is one GE op."""
        self.finish(node, self.op(node, type, operands, attributes).output)

    def finish(self, node: Node, *found: Value) -> None:
        """Say which values the outputs of a source node are.

        Raises `Unsayable` where their shapes differ from those that the node gives.
        """
        for old, new in zip(node.outputs, found, strict=False):
            if None not in (old.shape, new.shape) and old.shape != new.shape:
                raise Unsayable(f"gives {list(old.shape or ())}, and GE's op would give {list(new.shape or ())}")
            self.values[old] = new

    def take(self, node: Node) -> None:
        """A node of the quant dialect, as it is."""
        made = self.graph.add(
            node.name,
            node.op,
            self.inputs(node),
            [node.name if not value.index else value.name for value in node.outputs],
            attrs=node.attrs,
            weights=node.weights,
            provenance=node.provenance,
        )
        made.quant = node.quant
        self._infer(made)
        self.values.update(zip(node.outputs, made.outputs, strict=True))

    def free_name(self, wanted: str, *, own: bool = False) -> str:
        """A name that no op has, nor any node of the source but the one that it is for, if it is its `own`."""
        name, count = wanted, 0
        while name in self.graph or (name in self._reserved and not (own and name == wanted)):
            count += 1
            name = f"{wanted}_{count}"
        return name

    def _infer(self, node: Node) -> None:
        row = op_def(node)
        for value, dtype in zip(node.outputs, row.output_dtypes(node), strict=True):
            value.dtype = dtype
        shapes = [value.shape for value in node.inputs if value.shape is not None]
        if len(shapes) < len(node.inputs):
            return
        try:
            found = row.infer(node, tuple(shapes))
        except OpError as mistake:
            raise Unsayable(f"would be the op {node.type}, which {mistake}") from None
        except UnknownShape:
            return
        for value, shape in zip(node.outputs, found, strict=True):
            value.shape = shape


Rule: TypeAlias = Callable[[Crossing, Node], None]
"""Writes the ops of one source node, or raises `Unsayable`."""


def in_ge(graph: Graph) -> Graph:
    """The graph itself if it is of the ge dialect, else a new one of GE ops that gives the same numbers.

    Ops keep the names of the nodes; what one node becomes beside its namesake is named for it. The quant dialect stays
    as it is. Raises `DiagnosticError` (AM715) with every node that GE has no op for.
    """
    if all(node.dialect in (GE, "quant") for node in graph.nodes):
        return graph
    from amctc.targets.ge.from_caffe import CAFFE_RULES
    from amctc.targets.ge.from_onnx import ONNX_RULES

    rules = {**CAFFE_RULES, **ONNX_RULES}
    annotate_dtypes(graph)
    crossing, collector = Crossing(graph), Collector()
    lost: set[Value] = set()
    for node in graph.nodes:
        if any(value in lost for value in node.inputs):
            lost.update(node.outputs)
            reason = None if node.op in rules or node.dialect == "quant" else _UNKNOWN
        else:
            reason = _cross(crossing, node, rules)
        if reason is not None:
            help = "leave the layer out of the model, or write it for the target `onnx`"
            collector.add(node_error("AM715", node, reason, help))
            lost.update(node.outputs)
    collector.raise_errors()
    crossing.graph.outputs = [crossing.value(value) for value in graph.outputs]
    return crossing.graph


_UNKNOWN = "has no form in GE"


def _cross(c: Crossing, node: Node, rules: Mapping[str, Rule]) -> str | None:
    """Write one node; the reason where that cannot be done."""
    from amctc.targets.ge.from_onnx.constants import compute, is_constant

    try:
        if quantizes_inside(node):
            return "quantizes its hidden state inside, which no op of GE does; skip it in the policy"
        if node.dialect == "quant":
            c.take(node)
            return None
        rule = rules.get(node.op)
        if node.dialect == ONNX and is_constant(c, node):
            rule = compute
        if rule is None:
            return _UNKNOWN
        rule(c, node)
    except Unsayable as reason:
        return str(reason)
    return None


def need_shape(value: Value) -> Shape:
    """The shape of a value. Raises `Unsayable` where it is not known."""
    if value.shape is None:
        raise Unsayable(f"reads `{value.blob}`, whose shape the model does not say")
    return value.shape
