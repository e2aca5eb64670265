"""What has no inputs: inputs of the graph, and constants that are values."""

from __future__ import annotations

from amctc.dialects.ge import GE
from amctc.dialects.ge.generic import declared_dtypes
from amctc.dialects.ge.slots import about
from amctc.dialects.op import ONE, Arity, OpDef, OpError, UnknownShape
from amctc.ir import Node
from amctc.ir.node import Array, Shape

_NONE = Arity(0, 0)


def _declared(node: Node) -> Shape:
    found = about(node).get("shape")
    if not isinstance(found, tuple):
        raise UnknownShape
    return tuple(size for size in found if isinstance(size, int))


def _infer_data(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The declared shape; where only the first axis is free, a batch of one."""
    shape = _declared(node)
    if any(size < 0 for size in shape[1:]) or shape[:1] == (-2,):
        raise UnknownShape
    return (tuple(size if size >= 0 else 1 for size in shape),)


def _free_shape(node: Node) -> Shape | None:
    try:
        shape = _declared(node)
    except UnknownShape:
        return None
    if shape[:1] == (-2,) or all(size >= 0 for size in shape):
        return None
    return tuple(max(size, 0) for size in shape)


def _data_dtype(node: Node) -> tuple[str, ...]:
    return (str(about(node).get("dtype", "float32")),)


def _infer_constant(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return (_value(node).shape,)


def _constant_dtype(node: Node) -> tuple[str, ...]:
    # A file may call an op so that reads something, and has no value.
    return (node.weights["value"].dtype.name,) if "value" in node.weights else declared_dtypes(node)


def _value(node: Node) -> Array:
    if "value" not in node.weights or node.inputs:
        raise OpError("must have a value, and no inputs")
    return node.weights["value"]


DATA_OPS: tuple[OpDef, ...] = (
    OpDef(
        name=f"{GE}.Data",
        summary="an input of the graph",
        inputs=_NONE,
        outputs=ONE,
        infer=_infer_data,
        dtypes=_data_dtype,
        source=True,
        free_shape=_free_shape,
        notes="attrs: index, the number of the input; its shape and element type stand in `air`",
    ),
    OpDef(
        name=f"{GE}.Const",
        summary="a constant that is an output of the graph, or that a pass has computed",
        inputs=_NONE,
        outputs=ONE,
        infer=_infer_constant,
        dtypes=_constant_dtype,
        notes="weights: value. Constants that ops read are weights of these",
    ),
)
