"""Rows of the GE dialect, made from the rows of the layers that its ops are like."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.ops import CAFFE_OPS
from amctc.dialects.ge import GE
from amctc.dialects.ge.generic import declared_shapes, generic_row
from amctc.dialects.ge.prototype import Port, prototypes
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin, Relation, kin_of, result_dtype, to_nchw, to_nchw_axes, to_nhwc
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.onnx.generic import generic_row as onnx_row
from amctc.dialects.onnx.ops import ONNX_OPS
from amctc.dialects.op import Affine, Arity, Likeness, OpDef, OpError, Quantizable, UnknownShape
from amctc.ir import Node
from amctc.ir.node import Shape

_ROWS = {row.name: row for row in (*CAFFE_OPS, *ONNX_OPS)}
T = TypeVar("T")


def like(op: str) -> OpDef:
    """The row of a layer of Caffe or ONNX: `caffe.ReLU`, `onnx.Erf`."""
    return _ROWS[op] if op in _ROWS or not op.startswith(f"{ONNX}.") else onnx_row(op)


def kin_row(
    type: str, translate: Callable[[Node], Kin], kin: str, *, quantizable: Quantizable | None = None, notes: str = ""
) -> OpDef:
    """The row of an op that is like another dialect's op `kin`, to which `translate` brings its nodes.

    It has the traits of that op that look at single elements or channels; those that change a node (`become`) and the
    linear ones are the caller's to add.
    """
    model = like(kin)
    prototype = prototypes()[type]
    return OpDef(
        name=f"{GE}.{type}",
        summary=model.summary,
        inputs=_arity(prototype.inputs),
        outputs=_arity(prototype.outputs),
        infer=_infer,
        quantizable=quantizable,
        affine=None if model.affine is None else Affine(_coefficients, axis=_affine_axis),
        homogeneous=None if model.homogeneous is None else _homogeneous,
        channel_axis=_channel_axis,
        activation=model.activation,
        identity=model.identity,
        moves_data=model.moves_data,
        changes_nothing=_changes_nothing,
        dtypes=_dtypes,
        clamps=lambda node: _ask(node, lambda row, kin: row.clamps(kin), None),
        keeps_grid=lambda node: _ask(node, lambda row, kin: row.keeps_grid(kin), False),
        likeness=Likeness(kin, translate),
        notes=notes,
    )


def _arity(ports: tuple[Port, ...]) -> Arity:
    """How many values a node may read or give: constants are no values, so that the least is none."""
    return Arity(0, None if any(port.dynamic for port in ports) else len(ports))


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    try:
        relation = kin_of(node, shapes)
    except NoKin:
        return declared_shapes(node)
    row = op_row(relation.node)
    found = row.infer(relation.node, tuple(_known(value.shape) for value in relation.node.inputs))
    for role, wanted in row.weight_shapes(relation.node, tuple(_known(v.shape) for v in relation.node.inputs)).items():
        weight = relation.node.weights.get(role)
        if weight is not None and weight.shape != wanted and weight.size != int(np.prod(wanted)):
            raise OpError(f"has a {role} of {list(weight.shape)}, where {list(wanted)} is needed for these data")
    shapes_of = {
        number: to_nhwc(shape) if relation.moved else shape
        for number, shape in zip(relation.outputs, found, strict=True)
    }
    shapes_of |= relation.unread(found)
    if len(shapes_of) < len(node.outputs):
        declared = declared_shapes(node)
        return tuple(shapes_of.get(number, declared[number]) for number in range(len(node.outputs)))
    return tuple(shapes_of[number] for number in range(len(node.outputs)))


def _known(shape: Shape | None) -> Shape:
    if shape is None:
        raise UnknownShape
    return shape


def op_row(node: Node) -> OpDef:
    """The row of a kin."""
    row = _ROWS.get(node.op) or onnx_row(node.op)
    return row.variant(node) or row


def _dtypes(node: Node) -> tuple[str, ...]:
    declared = generic_row(node.op).output_dtypes(node)
    try:
        relation = kin_of(node)
    except (NoKin, OpError):
        return declared
    pairs = zip(relation.outputs, relation.node.outputs, strict=True)
    found = {number: result_dtype(node, relation, made) for number, made in pairs}
    return tuple(found.get(number, declared[number]) for number in range(len(node.outputs)))


def _coefficients(node: Node, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    try:
        relation = kin_of(node)
    except (NoKin, OpError) as reason:
        return str(reason)
    trait = op_row(relation.node).affine
    if trait is None:
        return f"{node.type} is not a map of each channel"
    _along_axis_one(node, relation)
    return trait.coefficients(relation.node, channels)


def _along_axis_one(node: Node, relation: Relation) -> None:
    """Lay the constants of a kin that is not moved as for NCHW, and widen halves: what asks looks at numbers alone."""
    kin = relation.node
    kin.weights = {
        role: array.astype(np.float32) if array.dtype == np.float16 else array for role, array in kin.weights.items()
    }
    shape = kin.inputs[0].shape if kin.inputs else None
    if data_format(node) != NHWC or relation.moved or kin.dialect != ONNX or shape is None or len(shape) < 2:
        return
    rank = len(shape)
    for role, array in kin.weights.items():
        if array.ndim <= rank:  # broadcast from the last axis on
            kin.weights[role] = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(to_nchw_axes(rank))
    kin.inputs[0].shape = to_nchw(shape)


def _affine_axis(node: Node) -> int:
    shape = node.inputs[0].shape
    if data_format(node) != NHWC:
        return 1
    return -1 if shape is None else len(shape) - 1


def _channel_axis(node: Node) -> int:
    try:
        relation = kin_of(node)
    except (NoKin, OpError):
        return 1
    return -1 if relation.moved else op_row(relation.node).channel_axis(relation.node)


def _homogeneous(node: Node) -> bool:
    return _ask(node, lambda row, kin: row.homogeneous is not None and row.homogeneous(kin), False)


def _changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    try:
        relation = kin_of(node, shapes)
    except NoKin:
        return False
    known = tuple(_known(value.shape) for value in relation.node.inputs)
    return relation.inputs[:1] == (0,) and op_row(relation.node).changes_nothing(relation.node, known)


def _ask(node: Node, question: Callable[[OpDef, Node], T], otherwise: T) -> T:
    """What the row of the kin says of it."""
    try:
        relation = kin_of(node)
    except (NoKin, OpError):
        return otherwise
    return question(op_row(relation.node), relation.node)
