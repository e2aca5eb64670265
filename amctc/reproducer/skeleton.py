"""A graph as a value: what is taken away from it, and how it is built anew for each try."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from amctc.dialects.table import op_def
from amctc.ir import Graph, Provenance, Value
from amctc.ir.node import Array, Shape
from amctc.ir.quantization import NodeQuant
from amctc.text.plain import Plain

_LARGEST_INPUT = 1 << 26
"""Elements; the shape of a value is only what a file says."""

Ref: TypeAlias = tuple[str, int]
"""A value by the name of its layer and the number of the output."""


@dataclass(frozen=True)
class Out:
    """One output of a layer: its blob, element type and shape."""

    blob: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True, eq=False)
class Layer:
    """A node without a graph. `stands_for` is the value of the first graph whose place a new input takes."""

    name: str
    op: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Out, ...]
    attrs: Mapping[str, Plain]
    weights: Mapping[str, Array]
    provenance: Provenance
    quant: NodeQuant | None
    source: bool
    stands_for: Ref | None = None


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A graph: layers in topological order, and outputs."""

    name: str
    attrs: Mapping[str, Plain]
    layers: tuple[Layer, ...]
    outputs: tuple[Ref, ...]

    @classmethod
    def of(cls, graph: Graph) -> Skeleton:
        layers = tuple(
            Layer(
                node.name,
                node.op,
                tuple(map(_ref, node.inputs)),
                tuple(Out(value.blob, value.dtype, value.shape) for value in node.outputs),
                node.attrs,
                dict(node.weights),
                node.provenance,
                node.quant,
                op_def(node).source,
            )
            for node in graph.nodes
        )
        return cls(graph.name, graph.attrs, layers, tuple(map(_ref, graph.outputs)))

    def build(self) -> Graph:
        """The graph, with attributes and weights of its own; layers that share an array share its copy."""
        graph = Graph(self.name)
        graph.attrs = copy.deepcopy(dict(self.attrs))
        copies: dict[int, Array] = {}
        for layer in self.layers:
            node = graph.add(
                layer.name,
                layer.op,
                [graph.node(name).outputs[index] for name, index in layer.inputs],
                [out.blob for out in layer.outputs],
                attrs=copy.deepcopy(dict(layer.attrs)),
                weights={role: copies.setdefault(id(array), array.copy()) for role, array in layer.weights.items()},
                provenance=layer.provenance,
            )
            node.quant = layer.quant
            for value, out in zip(node.outputs, layer.outputs, strict=True):
                value.dtype, value.shape = out.dtype, out.shape
        graph.outputs = [graph.node(name).outputs[index] for name, index in self.outputs]
        return graph

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that compute something."""
        return tuple(layer.name for layer in self.layers if not layer.source)

    def with_outputs(self, outputs: Collection[Ref]) -> Skeleton:
        """Only what these outputs depend on."""
        needed = {name for name, _ in outputs}
        for layer in reversed(self.layers):
            if layer.name in needed:
                needed.update(name for name, _ in layer.inputs)
        kept = tuple(layer for layer in self.layers if layer.name in needed)
        return replace(self, layers=kept, outputs=tuple(outputs))

    def without(self, names: Collection[str]) -> Skeleton | None:
        """The graph without some layers; None where it cannot be.

        Whoever read such a layer reads what it read, where the shapes agree, or else a new input of the network. What
        is read no more then becomes an output, in the places of the outputs that are gone.
        """
        removal = _Removal(self, frozenset(names))
        return removal.result()


class _Removal:
    def __init__(self, whole: Skeleton, names: frozenset[str]) -> None:
        self.whole = whole
        self.names = names
        self.outs = {(layer.name, i): out for layer in whole.layers for i, out in enumerate(layer.outputs)}
        self.taken = {layer.name for layer in whole.layers} | {out.blob for out in self.outs.values()}
        self.instead: dict[Ref, Ref] = {}
        self.kept: list[Layer] = []

    def result(self) -> Skeleton | None:
        for layer in self.whole.layers:
            if layer.name in self.names and not layer.source:
                self.bypass(layer)
                continue
            inputs = tuple(map(self.reading, layer.inputs))
            if any(ref is None for ref in inputs):
                return None
            self.kept.append(replace(layer, inputs=tuple(ref for ref in inputs if ref is not None)))
        return self.tidied()

    def bypass(self, layer: Layer) -> None:
        """Let the first output stand for what the layer reads, where both are alike."""
        if not layer.inputs or len(layer.outputs) != 1:
            return
        given = self.instead.get(layer.inputs[0], layer.inputs[0])
        if given in self.outs and self.alike(given, (layer.name, 0)):
            self.instead[layer.name, 0] = given

    def alike(self, one: Ref, other: Ref) -> bool:
        a, b = self.outs[one], self.outs[other]
        present = one[0] not in self.names
        return present and a.shape is not None and (a.shape, a.dtype) == (b.shape, b.dtype)

    def reading(self, ref: Ref) -> Ref | None:
        """What stands for a value now; a new input of the network where nothing did."""
        if ref in self.instead:
            return self.instead[ref]
        if ref[0] not in self.names:
            return ref
        out = self.outs[ref]
        if out.shape is None or out.dtype != "float32" or math.prod(out.shape) > _LARGEST_INPUT:
            return None
        name = self.unused(f"{ref[0]}.in" if ref[1] == 0 else f"{ref[0]}.in.{ref[1]}")
        shape: dict[str, Plain] = {"dim": out.shape}
        new = Layer(
            name,
            "caffe.Input",
            (),
            (Out(name, "float32", out.shape),),
            {"input_param": {"shape": (shape,)}},
            {},
            Provenance(inserted=True),
            None,
            source=True,
            stands_for=ref,
        )
        self.kept.append(new)
        self.outs[name, 0] = new.outputs[0]
        self.instead[ref] = (name, 0)
        return self.instead[ref]

    def unused(self, wanted: str) -> str:
        name, count = wanted, 0
        while name in self.taken:
            count += 1
            name = f"{wanted}.{count}"
        self.taken.add(name)
        return name

    def tidied(self) -> Skeleton | None:
        """Unread inputs go; what the removed layers read, and what stood for their outputs, becomes an output."""
        read = {ref for layer in self.kept for ref in layer.inputs}
        sources = {layer.name for layer in self.kept if layer.source}
        removed = [layer for layer in self.whole.layers if layer.name in self.names]
        was_read = {ref for layer in removed for ref in layer.inputs}
        ends = {self.instead.get(ref, ref) for ref in (*self.whole.outputs, *was_read)}
        outputs = [
            (layer.name, index)
            for layer in self.kept
            for index in range(len(layer.outputs))
            if (layer.name, index) in ends
            and (layer.name not in sources)
            and ((layer.name, index) not in read or (layer.name, index) in self.whole.outputs)
        ]
        used = {name for name, _ in read} | {name for name, _ in self.whole.outputs}
        layers = tuple(layer for layer in self.kept if not layer.source or layer.name in used)
        if all(layer.source for layer in layers):
            return None
        return replace(self.whole, layers=layers, outputs=tuple(outputs))


def _ref(value: Value) -> Ref:
    return value.producer.name, value.index
