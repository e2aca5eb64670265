"""What a crossing rule writes into: Caffe layers, each with its shape, beside what of the source is constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.inference import infer_node
from amctc.dialects.onnx.operands import operands
from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.table import op_def, op_table
from amctc.ir import Graph, Node, Provenance, Value
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

FLOAT = "float32"


class Unsayable(Exception):
    """Why Caffe has no layers that do what a node does: what comes behind "layer `x` (Op): "."""


class Crossing:
    """The Caffe graph while it is being written.

    `values` maps what of the source has been written; `constants` has what of it does not depend on the inputs.
    """

    def __init__(self, source: Graph) -> None:
        self.source = source
        self.graph = Graph(source.name)
        self.values: dict[Value, Value] = {}
        self.constants: dict[Value, Array] = {}
        self._reserved = {node.name for node in source.nodes}
        self._blobs = {value.blob for node in source.nodes for value in node.outputs}

    # -- reading the source ----------------------------------------------------------------------

    def operands(self, node: Node) -> tuple[Value | Array | None, ...]:
        """The operands of a source node: values of the new graph, arrays, or None for those left out."""
        found: list[Value | Array | None] = []
        for operand in operands(node):
            if isinstance(operand, Value):
                found.append(self.constants[operand] if operand in self.constants else self.values[operand])
            else:
                found.append(None if operand is None else node.weights[operand])
        return tuple(found)

    def operand(self, node: Node, index: int) -> Value | Array | None:
        """One operand; None for one behind the last."""
        found = self.operands(node)
        return found[index] if index < len(found) else None

    def data(self, node: Node, index: int = 0) -> Value:
        """An operand as a value: a constant becomes a Parameter layer. Raises `Unsayable` where it is left out."""
        found = self.operand(node, index)
        if isinstance(found, Value):
            return found
        if found is None:
            raise Unsayable(f"has no operand number {index + 1}")
        return self.parameter(node, found)

    def constant(self, node: Node, index: int, what: str) -> Array | None:
        """An operand that must be constant; None where it is left out. Raises `Unsayable` where it is data."""
        found = self.operand(node, index)
        if isinstance(found, Value):
            raise Unsayable(f"has no constant {what}")
        return found

    def ints(self, node: Node, index: int, what: str) -> tuple[int, ...] | None:
        """A constant operand of whole numbers."""
        found = self.constant(node, index, what)
        return None if found is None else tuple(int(number) for number in found.reshape(-1))

    def wanted_shape(self, node: Node, index: int = 0) -> Shape | None:
        """What ONNX says of the shape of an output; None where it does not say it."""
        shapes: list[Shape] = []
        for value in node.inputs:
            shape = self.constants[value].shape if value in self.constants else self.values[value].shape
            if shape is None:
                return None
            shapes.append(shape)
        row = op_def(node)
        try:
            if row.linear is not None:
                return row.infer(node, tuple(shapes))[index]
            return infer_node(node, shapes, [value.dtype for value in node.inputs])[index].shape
        except UnknownShape:
            return None
        except OpError as mistake:
            raise Unsayable(str(mistake)) from None

    # -- writing ---------------------------------------------------------------------------------

    def layer(
        self,
        node: Node,
        type: str,
        inputs: Sequence[Value],
        parameters: Mapping[str, Plain] | None = None,
        *,
        weights: Mapping[str, Array] | None = None,
        part: str = "",
        tops: int = 1,
    ) -> Node:
        """A Caffe layer for a source node: its namesake, or beside it the one that does the `part` of it.

        Raises `Unsayable` where the layer does not take such inputs.
        """
        name = self._name(node.name, part)
        field = parameter_of(type)
        attrs: dict[str, Plain] = {field: dict(parameters)} if field is not None and parameters else {}
        own = node.provenance if not part else Provenance(node.origin, inserted=True)
        blobs = [self._blob(name if index == 0 else f"{name}_{index}") for index in range(tops)]
        made = self.graph.add(name, f"caffe.{type}", inputs, blobs, attrs=attrs, weights=weights, provenance=own)
        self._infer(made)
        if not part:
            made.quant = node.quant
        return made

    def map(
        self,
        node: Node,
        type: str,
        source: Value,
        parameters: Mapping[str, Plain] | None = None,
        *,
        weights: Mapping[str, Array] | None = None,
        part: str = "",
    ) -> Value:
        """The only output of a layer of one input."""
        return self.layer(node, type, [source], parameters, weights=weights, part=part).output

    def parameter(self, node: Node, array: Array) -> Value:
        """A constant as a layer without inputs. Raises `Unsayable` where it is not float32."""
        if array.dtype != np.float32:
            raise Unsayable(f"reads a constant of {array.dtype}, and Caffe's blobs hold float32")
        shape: dict[str, Plain] = {"shape": {"dim": array.shape}}
        return self.layer(node, "Parameter", [], shape, weights={"weight": array}, part="constant").output

    def reshaped(self, node: Node, source: Value, shape: Shape, part: str = "") -> Value:
        """The same elements under another shape; the first axis stays what it is where it keeps its size."""
        if source.shape == shape:
            return source
        old = need_shape(source)
        keeps = bool(old) and bool(shape) and old[0] == shape[0]
        dims = (0, *shape[1:]) if keeps else shape
        return self.map(node, "Reshape", source, {"shape": {"dim": dims}}, part=part)

    def finish(self, node: Node, *found: Value, checked: bool = True) -> None:
        """Say which values the outputs of a source node are.

        Raises `Unsayable` where their shapes differ from what ONNX says of the node, if they are `checked`.
        """
        for index, (old, new) in enumerate(zip(node.outputs, found, strict=False)):
            wanted = self.wanted_shape(node, index) if checked else None
            if wanted is not None and new.shape is not None and new.shape != wanted:
                raise Unsayable(f"gives {list(wanted)}, and Caffe's layer would give {list(new.shape)}")
            self.values[old] = new
            if new.producer.op in ("caffe.Input", "caffe.Parameter"):
                continue
            new.blob = old.blob

    def copy(self, node: Node, inputs: Sequence[Value], name: str | None = None) -> Node:
        """A node that both dialects have, as it is."""
        blobs = [value.blob for value in node.outputs] if name is None else [self._blob(name)]
        own = name or node.name
        made = self.graph.add(
            own, node.op, inputs, blobs, attrs=node.attrs, weights=node.weights, provenance=node.provenance
        )
        made.quant = node.quant
        self._infer(made)
        return made

    def free_name(self, wanted: str) -> str:
        """A name that no layer has, nor any node of the source."""
        name, count = wanted, 0
        while name in self.graph or name in self._reserved:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def _name(self, name: str, part: str) -> str:
        return self.free_name(f"{name}_{part}") if part else name

    def _blob(self, wanted: str) -> str:
        """A blob name that nothing has: layers of one name would be taken to work in place."""
        name, count = wanted, 0
        while name in self._blobs:
            count += 1
            name = f"{wanted}_{count}"
        self._blobs.add(name)
        return name

    def _infer(self, node: Node) -> None:
        row = op_def(node)
        for value, dtype in zip(node.outputs, row.output_dtypes(node), strict=True):
            value.dtype = dtype
        shapes = tuple(need_shape(value) for value in node.inputs)
        try:
            for value, shape in zip(node.outputs, row.infer(node, shapes), strict=True):
                value.shape = shape
            wanted = row.weight_shapes(node, shapes)
        except OpError as mistake:
            raise Unsayable(f"would be a {node.type} layer, which {mistake}") from None
        for role, shape in wanted.items():
            if role in node.weights and node.weights[role].shape != shape:
                raise Unsayable(f"would be a {node.type} layer with a {role} of {list(node.weights[role].shape)}")


Rule: TypeAlias = Callable[[Crossing, Node], None]
"""Writes the layers of one source node, or raises `Unsayable`."""


def parameter_of(type: str) -> str | None:
    """The field of a layer's own parameters."""
    return op_table()[f"caffe.{type}"].parameter


def need_shape(value: Value) -> Shape:
    """The shape of a value. Raises `Unsayable` where it is not known."""
    if value.shape is None:
        raise Unsayable(f"reads `{value.blob}`, whose shape the model does not say")
    return value.shape


def attribute(node: Node, name: str, default: Plain) -> Plain:
    found = node.attrs.get(name)
    return default if found is None or isinstance(found, bytes) else found


def word(node: Node, name: str, default: str) -> str:
    """An attribute that is a text."""
    found = attribute(node, name, default)
    return found if isinstance(found, str) else default


def number(node: Node, name: str, default: float) -> float:
    """An attribute that is one number."""
    found = attribute(node, name, default)
    return float(found) if isinstance(found, int | float) else default


def whole(node: Node, name: str, default: int) -> int:
    return int(number(node, name, default))


def sizes(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute that is a list of whole numbers."""
    found = attribute(node, name, default)
    return tuple(item for item in found if isinstance(item, int)) if isinstance(found, tuple) else default


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises `Unsayable` for one that there is not."""
    if not -rank <= axis < rank:
        raise Unsayable(f"has the axis {axis}, and its data have {rank}")
    return axis % rank


def floats(array: Array) -> NDArray[np.float32]:
    """A constant of float32. Raises `Unsayable` for another."""
    if array.dtype != np.float32:
        raise Unsayable(f"has a constant of {array.dtype}, and Caffe's blobs hold float32")
    return array.astype(np.float32, copy=False)


def per_axis(numbers: Sequence[int]) -> Plain:
    """A repeated field with one number for each axis, or one for all."""
    return tuple(numbers[:1]) if len(set(numbers)) == 1 else tuple(numbers)
