"""Nodes that are run as a layer of another dialect: by the rule of that layer."""

from __future__ import annotations

from collections.abc import Sequence

from amctc.diagnostics import DiagnosticError
from amctc.dialects.custom import CAFFE
from amctc.dialects.kin import NoKin, Relation, kin_of, to_nchw_axes, to_nhwc_axes
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.op import OpDef, OpError, UnknownShape
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.runtime.lowering.builder import Lowering, Rule


def relation_of(node: Node, shapes: Sequence[Shape | None] | None = None) -> Relation:
    """The kin of a node that is to be run. Raises `DiagnosticError`: AM438 where it has none, AM320."""
    try:
        return kin_of(node, shapes)
    except NoKin as reason:
        raise DiagnosticError(node_error("AM438", node, str(reason))) from None
    except OpError as mistake:
        raise DiagnosticError(node_error("AM320", node, str(mistake))) from None


def lower_kin(low: Lowering, node: Node, rule: Rule, relation: Relation) -> None:
    """Write the kin of a node by its own rule, with images moved between NHWC and NCHW around it where they lie so."""
    names: dict[Value, str] = {}
    dtypes = {value: value.dtype for value in (*relation.node.inputs, *relation.node.outputs)}
    unsigned: dict[Value, str] = {}
    for stand_in, index in _pairs(relation):
        value, moved = node.inputs[index], relation.moved and stand_in is relation.node.inputs[0]
        rank = len(stand_in.shape or ())
        name = _cast(low, low.name(value), stand_in.dtype) if low.dtype(value) != stand_in.dtype else low.name(value)
        names[stand_in] = _moved(low, name, rank) if moved else name
        if op_def(relation.node).linear is not None and low.dtype(value) == "int8":
            integers = low.unsigned(value)
            unsigned[stand_in] = _moved(low, integers, rank) if moved else integers
    results = [(made, node.outputs[i]) for made, i in zip(relation.node.outputs, relation.outputs, strict=True)]
    for made, value in results:
        direct = not relation.moved and made.dtype == low.dtype(value)
        names[made] = low.name(value) if direct else low.fresh(f"{low.name(value)}.{made.dtype}")
    shapes = {value: value.shape for value in relation.node.inputs if value.shape is not None}
    row = op_def(relation.node)
    if len(shapes) == len(relation.node.inputs):
        shapes.update(zip(relation.node.outputs, _inferred(node, row, relation), strict=False))
    elif relation.node.dialect == CAFFE or relation.moved:
        message = "cannot be run: nothing says which shape its data have"
        raise DiagnosticError(node_error("AM438", node, message))
    rule(low.apart(shapes, dtypes, names, unsigned), relation.node)
    for made, value in results:
        _hand_over(low, made, value, names[made], to_nhwc_axes(len(shapes[made])) if relation.moved else None)


def _inferred(node: Node, row: OpDef, relation: Relation) -> tuple[Shape, ...]:
    """The shapes that the kin gives: none where an ONNX op's data decide. Raises `DiagnosticError` (AM320)."""
    try:
        return row.infer(relation.node, tuple(value.shape or () for value in relation.node.inputs))
    except UnknownShape:
        if relation.node.dialect == ONNX and row.linear is None and not relation.moved:
            return ()
        reason = "its parameters and weights do not fit its data"
    except OpError as mistake:
        reason = str(mistake)
    raise DiagnosticError(node_error("AM320", node, reason))


def _hand_over(low: Lowering, made: Value, value: Value, name: str, axes: tuple[int, ...] | None) -> None:
    """Write the node's own value from what the kin has made, if this is another one."""
    cast = made.dtype != low.dtype(value)
    if axes is not None:
        name = low.emit("Transpose", [name], None if cast else low.name(value), perm=axes)
    if cast:
        _cast(low, name, low.dtype(value), low.name(value))


def _cast(low: Lowering, name: str, dtype: str, output: str | None = None) -> str:
    return low.emit("Cast", [name], output, to=ONNX_TYPES[dtype])


def _pairs(relation: Relation) -> Sequence[tuple[Value, int]]:
    return tuple(zip(relation.node.inputs, relation.inputs, strict=True))


def _moved(low: Lowering, name: str, rank: int) -> str:
    return low.emit("Transpose", [name], perm=to_nchw_axes(rank))
