"""What has no inputs: inputs of the graph, and constants that are outputs of it."""

from __future__ import annotations

from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.op import ONE, Arity, OpDef, UnknownShape
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.text.plain import Plain

_NONE = Arity(0, 0)


def _infer_input(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The declared shape; where only the first axis is free, a batch of one."""
    declared = node.attrs.get("shape")
    if not isinstance(declared, tuple):
        raise UnknownShape
    sizes = [size for size in declared if isinstance(size, int)]
    free = len(declared) - len(sizes)
    if not free:
        return (tuple(sizes),)
    if free > 1 or isinstance(declared[0], int):
        raise UnknownShape
    return ((1, *sizes),)


def _free_shape(node: Node) -> Shape | None:
    declared = node.attrs.get("shape")
    if not isinstance(declared, tuple) or all(isinstance(size, int) for size in declared):
        return None
    return tuple(_size(size) for size in declared)


def _size(size: Plain) -> int:
    return size if isinstance(size, int) else 0


def _input_dtype(node: Node) -> tuple[str, ...]:
    return (str(node.attrs.get("dtype", "float32")),)


def _infer_constant(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return (node.weights["value"].shape,)


def _constant_dtype(node: Node) -> tuple[str, ...]:
    return (node.weights["value"].dtype.name,)


DATA_OPS: tuple[OpDef, ...] = (
    OpDef(
        name=f"{ONNX}.Input",
        summary="an input of the graph",
        inputs=_NONE,
        outputs=ONE,
        infer=_infer_input,
        dtypes=_input_dtype,
        source=True,
        free_shape=_free_shape,
        notes="attrs: dtype, and shape as the file declares it: a size or a name for each axis; no shape: not declared",
    ),
    OpDef(
        name=f"{ONNX}.Constant",
        summary="a constant that is an output of the graph, or that a pass has computed",
        inputs=_NONE,
        outputs=ONE,
        infer=_infer_constant,
        dtypes=_constant_dtype,
        notes="weights: value",
    ),
)
