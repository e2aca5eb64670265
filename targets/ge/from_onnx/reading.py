"""What a crossing rule reads of an ONNX node, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.onnx.operands import operands
from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape
from amctc.targets.ge.crossing import Crossing, Operand, Unsayable, need_shape
from amctc.text.plain import Plain

FLOATS = ("float32", "float16")


def operands_of(c: Crossing, node: Node) -> tuple[Operand, ...]:
    """The operands of a node in ONNX's order: values of the new graph, constants, or None for what is left out."""
    found: list[Operand] = []
    for operand in operands(node):
        if isinstance(operand, Value):
            found.append(c.constants[operand] if operand in c.constants else c.values[operand])
        else:
            found.append(None if operand is None else node.weights[operand])
    return tuple(found)


def operand(c: Crossing, node: Node, index: int) -> Operand:
    """One operand; None for one behind the last."""
    found = operands_of(c, node)
    return found[index] if index < len(found) else None


def data(c: Crossing, node: Node, index: int = 0) -> Value:
    """An operand as a value: a constant becomes a Const. Raises `Unsayable` where it is left out."""
    found = operand(c, node, index)
    if found is None:
        raise Unsayable(f"has no operand number {index + 1}")
    return found if isinstance(found, Value) else c.constant(f"{node.name}_constant", found)


def constant(c: Crossing, node: Node, index: int, what: str) -> Array | None:
    """An operand that must be constant; None where it is left out. Raises `Unsayable` where it is data."""
    found = operand(c, node, index)
    if isinstance(found, Value):
        raise Unsayable(f"has no constant {what}")
    return found


def ints(c: Crossing, node: Node, index: int, what: str) -> tuple[int, ...] | None:
    """A constant operand of whole numbers."""
    found = constant(c, node, index, what)
    return None if found is None else tuple(int(number) for number in found.reshape(-1))


def axes_of(c: Crossing, node: Node, index: int = 1) -> tuple[int, ...] | None:
    """Axes: the attribute of older opsets, or a constant operand; None where the node says none."""
    found = node_attribute(node, "axes", None)
    return tuple(found) if found is not None else ints(c, node, index, "axes")


def number(node: Node, name: str, default: float) -> float:
    return float(node_attribute(node, name, default))


def whole(node: Node, name: str, default: int) -> int:
    return int(node_attribute(node, name, default))


def word(node: Node, name: str, default: str) -> str:
    return str(node_attribute(node, name, default))


def sizes(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute that is a list of whole numbers."""
    return tuple(int(size) for size in node_attribute(node, name, default))


def rank_of(value: Value) -> int:
    """Raises `Unsayable` where it is not known."""
    return len(need_shape(value))


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises `Unsayable` for one that there is not."""
    if not -rank <= axis < rank:
        raise Unsayable(f"has the axis {axis}, and its data have {rank}")
    return axis % rank


def longs(numbers: Sequence[int]) -> Array:
    """Whole numbers as GE's shapes, axes and places: int64 [n]."""
    return np.array(numbers, np.int64)


def scalar(array: Array, what: str) -> Array:
    """A constant of one number, as one without axes. Raises `Unsayable` for another."""
    if array.size != 1:
        raise Unsayable(f"has {what} of {list(array.shape)}, where one number is expected")
    return array.reshape(())


def read_elsewhere(c: Crossing, node: Node, first: int = 1) -> bool:
    """Whether anybody needs outputs from number `first` on."""
    return any(c.source.uses(value) or c.source.is_output(value) for value in node.outputs[first:])


def one(
    c: Crossing, node: Node, type: str, operands: Sequence[Operand], attributes: Mapping[str, Plain] | None = None
) -> None:
    """A node of one output that is one GE op."""
    finish(c, node, c.op(node, type, operands, attributes).output)


def finish(c: Crossing, node: Node, *found: Value) -> None:
    """`Crossing.finish`, where the element types fit as well. Raises `Unsayable`."""
    for old, new in zip(node.outputs, found, strict=False):
        if old.dtype != new.dtype:
            raise Unsayable(f"gives {old.dtype}, and GE's op would give {new.dtype}")
    c.finish(node, *found)


def reshaped(c: Crossing, node: Node, source: Value, shape: Shape, part: str) -> Value:
    """The same elements under another shape."""
    if source.shape == shape:
        return source
    return c.op(node, "Reshape", [source, longs(shape)], part=part).output
