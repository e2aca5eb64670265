"""Normalizations with constant parameters."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.ge.become import with_scale
from amctc.dialects.ge.fields import flag, number, whole
from amctc.dialects.ge.filled import constant
from amctc.dialects.ge.onnx_form import onnx_row
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin, to_nhwc
from amctc.dialects.op import OpDef
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

_STATISTICS = ("scale", "offset", "mean", "variance")
_ROLES = ("scale", "bias", "mean", "variance")
"""The same in ONNX."""


def _infer_norm(node: Node) -> Kin:
    """Outputs behind the first, which BatchNorm has, hold a number for each channel."""
    weights: dict[str, Array] = {
        role: constant(node, slot).reshape(-1) for role, slot in zip(_ROLES, _STATISTICS, strict=True)
    }
    count = len(node.outputs)
    return Kin(
        "onnx.BatchNormalization",
        {"epsilon": number(node, "epsilon")},
        weights,
        inputs=(0,),
        moved=data_format(node) == NHWC,
        unread=lambda shapes: dict.fromkeys(range(1, count), shapes[0][1:2]),
    )


def _batch_norm(node: Node) -> Kin:
    if flag(node, "is_training"):
        raise NoKin("cannot be run: it takes the statistics of the batch")
    return _infer_norm(node)


def _instance_norm(node: Node) -> Kin:
    """Mean and variance of each channel of each sample are its other outputs."""
    weights: dict[str, Array] = {
        "scale": constant(node, "gamma").reshape(-1),
        "B": constant(node, "beta").reshape(-1),
    }
    moved, count = data_format(node) == NHWC, len(node.outputs)

    def unread(shapes: tuple[Shape, ...]) -> Mapping[int, Shape]:
        spread = (*shapes[0][:2], *((1,) * len(shapes[0][2:])))
        return dict.fromkeys(range(1, count), to_nhwc(spread) if moved else spread)

    attrs: dict[str, Plain] = {"epsilon": number(node, "epsilon")}
    return Kin("onnx.InstanceNormalization", attrs, weights, inputs=(0,), moved=moved, unread=unread)


def _layer_norm(node: Node) -> Kin:
    """Both axes are where what is normalized begins; gamma and beta have the sizes from there on."""
    begin, count = whole(node, "begin_norm_axis"), len(node.outputs)
    if begin != whole(node, "begin_params_axis"):
        raise NoKin("cannot be run: parameters that begin at another axis than the mean are not supported")
    weights: dict[str, Array] = {"Scale": constant(node, "gamma"), "B": constant(node, "beta")}

    def unread(shapes: tuple[Shape, ...]) -> Mapping[int, Shape]:
        first = range(len(shapes[0]))[begin]
        spread = tuple(size if axis < first else 1 for axis, size in enumerate(shapes[0]))
        return dict.fromkeys(range(1, count), spread)

    attrs: dict[str, Plain] = {"axis": begin, "epsilon": number(node, "epsilon")}
    return Kin("onnx.LayerNormalization", attrs, weights, inputs=(0,), unread=unread)


NORM_OPS: tuple[OpDef, ...] = (
    with_scale(onnx_row("BNInfer", "BatchNormalization", _infer_norm)),
    onnx_row("BatchNorm", "BatchNormalization", _batch_norm, notes="run with is_training false"),
    onnx_row("InstanceNorm", "InstanceNormalization", _instance_norm),
    onnx_row("LayerNorm", "LayerNormalization", _layer_norm),
)
