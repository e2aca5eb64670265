"""Inputs, constants, and what only hands its input on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.air.data_types import CPP_NUMBERS, GE_TYPES
from amctc.dialects.ge.slots import note
from amctc.dialects.onnx.element_types import type_name
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable
from amctc.targets.ge.from_onnx.reading import data, finish, one, operand, read_elsewhere, whole

_ANY_RANK = (-2,)


def _input(c: Crossing, node: Node) -> None:
    """Data, with -1 for sizes that the model leaves open."""
    value = node.output
    if value.dtype not in GE_TYPES:
        raise Unsayable(f"takes {value.dtype}, which GE's inputs do not")
    made = c.graph.add(node.name, "ge.Data", (), [node.name], provenance=node.provenance)
    note(made, shape=_declared(node), dtype=value.dtype)
    made.output.shape, made.output.dtype = value.shape, value.dtype
    c.values[value] = made.output


def _declared(node: Node) -> Shape:
    found = node.attrs.get("shape")
    if not isinstance(found, tuple):
        return node.output.shape if node.output.shape is not None else _ANY_RANK
    if node.output.shape is not None and all(isinstance(size, int) for size in found[1:]):
        first = found[0] if found and isinstance(found[0], int) else -1
        return (first, *node.output.shape[1:]) if found else ()
    known = node.output.shape
    return known if known is not None else tuple(size if isinstance(size, int) else -1 for size in found)


def _constant(c: Crossing, node: Node) -> None:
    array = node.weights["value"]
    if array.dtype.name not in GE_TYPES:
        raise Unsayable(f"is a constant of {array.dtype}, which GE does not have")
    c.constants[node.output] = array


def _identity(c: Crossing, node: Node) -> None:
    """Nothing; an Identity only where both sides are outputs of the graph, or an input is one."""
    if read_elsewhere(c, node):
        raise Unsayable("gives its mask")
    found = operand(c, node, 0)
    if isinstance(found, np.ndarray):
        c.constants[node.output] = found
        return
    value = data(c, node)
    both = c.source.is_output(node.output) and (c.source.is_output(node.inputs[0]) or op_def(value.producer).source)
    if both:
        one(c, node, "Identity", [value])
    else:
        finish(c, node, value)


def _dropout(c: Crossing, node: Node) -> None:
    training = operand(c, node, 2)
    if training is not None and (not isinstance(training, np.ndarray) or bool(training.any())):
        raise Unsayable("drops elements at inference")
    _identity(c, node)


def _cast(c: Crossing, node: Node) -> None:
    dtype = type_name(whole(node, "to", 0))
    if dtype not in GE_TYPES:
        raise Unsayable(f"gives {dtype}, which GE does not have")
    one(c, node, "Cast", [data(c, node)], {"dst_type": CPP_NUMBERS[GE_TYPES[dtype]]})


def _cast_like(c: Crossing, node: Node) -> None:
    """A Cast to the type of the second operand, which is known."""
    if node.output.dtype not in GE_TYPES:
        raise Unsayable(f"gives {node.output.dtype}, which GE does not have")
    one(c, node, "Cast", [data(c, node)], {"dst_type": CPP_NUMBERS[GE_TYPES[node.output.dtype]]})


def _shape(c: Crossing, node: Node) -> None:
    """A constant where all inputs of the graph have fixed sizes."""
    value = data(c, node)
    free = any(op_def(other).free_shape(other) is not None for other in c.source.nodes if op_def(other).source)
    if node.attrs.keys() & {"start", "end"}:
        if free or value.shape is None:
            raise Unsayable("asks for some of the sizes, which GE's Shape does not")
        start, end = whole(node, "start", 0), whole(node, "end", len(value.shape))
        c.constants[node.output] = np.array(value.shape[start:end], np.int64)
    elif value.shape is not None and not free:
        c.constants[node.output] = np.array(value.shape, np.int64)
    else:
        one(c, node, "Shape", [value], {"dtype": CPP_NUMBERS["DT_INT64"]})


DATA: Mapping[str, Rule] = MappingProxyType(
    {
        "onnx.Input": _input,
        "onnx.Constant": _constant,
        "onnx.Identity": _identity,
        "onnx.Dropout": _dropout,
        "onnx.Cast": _cast,
        "onnx.CastLike": _cast_like,
        "onnx.Shape": _shape,
    }
)
