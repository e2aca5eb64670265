"""Normalizations with constant parameters."""

from __future__ import annotations

from dataclasses import replace

from amctc.dialects.ge.become import with_scale
from amctc.dialects.ge.fields import flag, number, whole
from amctc.dialects.ge.onnx_form import constant, onnx_row
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Array, Shape

_STATISTICS = ("scale", "offset", "mean", "variance")
_ROLES = ("scale", "bias", "mean", "variance")
"""The same in ONNX."""


def _infer_norm(node: Node) -> Kin:
    weights: dict[str, Array] = {
        role: constant(node, slot).reshape(-1) for role, slot in zip(_ROLES, _STATISTICS, strict=True)
    }
    moved = data_format(node) == NHWC
    return Kin("onnx.BatchNormalization", {"epsilon": number(node, "epsilon")}, weights, inputs=(0,), moved=moved)


def _batch_norm(node: Node) -> Kin:
    if flag(node, "is_training"):
        raise NoKin("cannot be run: it takes the statistics of the batch")
    return _infer_norm(node)


def _with_statistics(row: OpDef) -> OpDef:
    """The outputs behind the first have a number for each channel."""

    def infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        if flag(node, "is_training"):
            return row.infer(node, shapes)
        scale = node.weights.get("scale")
        if scale is None or len(shapes) != 1:
            return row.infer(node, shapes)
        axis = -1 if data_format(node) == NHWC else 1
        if len(shapes[0]) < 2 or scale.size != shapes[0][axis]:
            raise OpError(f"has a scale of {scale.size} numbers, and data of {list(shapes[0])}")
        _batch_norm(node)
        return (shapes[0], *((scale.size,) for _ in node.outputs[1:]))

    return replace(row, infer=infer)


def _instance_norm(node: Node) -> Kin:
    gamma, beta = constant(node, "gamma").reshape(-1), constant(node, "beta").reshape(-1)
    weights: dict[str, Array] = {"scale": gamma, "B": beta}
    attrs = {"epsilon": number(node, "epsilon")}
    return Kin("onnx.InstanceNormalization", attrs, weights, inputs=(0,), moved=data_format(node) == NHWC)


def _layer_norm(node: Node) -> Kin:
    """Both axes are where what is normalized begins; gamma and beta have the sizes from there on."""
    begin = whole(node, "begin_norm_axis")
    if begin != whole(node, "begin_params_axis"):
        raise NoKin("cannot be run: parameters that begin at another axis than the mean are not supported")
    gamma, beta = constant(node, "gamma"), constant(node, "beta")
    weights: dict[str, Array] = {"Scale": gamma, "B": beta}
    return Kin("onnx.LayerNormalization", {"axis": begin, "epsilon": number(node, "epsilon")}, weights, inputs=(0,))


def _means(row: OpDef) -> OpDef:
    """Mean and variance, behind the first output, are [..., 1, ...] where they were taken together."""

    def infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        if len(node.outputs) == 1 or len(shapes) != 1:
            return row.infer(node, shapes)
        (shape,) = shapes
        begin = _first_normalized(node, len(shape))
        spread = tuple(1 if axis in begin else size for axis, size in enumerate(shape))
        return (shape, *(spread for _ in node.outputs[1:]))

    return replace(row, infer=infer)


def _first_normalized(node: Node, rank: int) -> frozenset[int]:
    if node.type == "LayerNorm":
        begin = whole(node, "begin_norm_axis")
        if not -rank <= begin < rank:
            raise OpError(f"`begin_norm_axis` is {begin}, and its data have {rank} axes")
        return frozenset(range(begin % rank, rank))
    return frozenset(range(1, rank - 1)) if data_format(node) == NHWC else frozenset(range(2, rank))


NORMALIZATION_OPS: tuple[OpDef, ...] = (
    with_scale(onnx_row("BNInfer", "BatchNormalization", _infer_norm)),
    _with_statistics(onnx_row("BatchNorm", "BatchNormalization", _batch_norm, notes="run with is_training false")),
    _means(onnx_row("InstanceNorm", "InstanceNormalization", _instance_norm)),
    _means(onnx_row("LayerNorm", "LayerNormalization", _layer_norm)),
)
