"""Normalization over parts of a blob: MVN, Normalize, GroupNorm, LayerNormalization."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.caffe.blobs import axis_of, describe, same_shape
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

_ON = Quantizable(on_by_default=True)
_MVN_SHAPE = (
    "the deviation is sqrt(mean of squares) + eps, eps outside the root; the top always has 4 axes, as Caffe "
    "reshapes it to (N, C, H, W)"
)


def _infer_mvn(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    params(node, "mvn_param")
    shape = shapes[0]
    if len(shape) > 4:
        raise OpError(f"takes a blob of 4 axes at most, this one is {describe(shape)}")
    return ((*shape, *(1,) * (4 - len(shape))),)


def _infer_normalize(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    params(node, "norm_param")
    if not 2 <= len(shapes[0]) <= 4:
        raise OpError(f"takes a blob of 2 to 4 axes, this one is {describe(shapes[0])}")
    return same_shape(node, shapes)


def _normalize_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    return {"scale": () if params(node, "norm_param").channel_shared else (shapes[0][1],)}


def _infer_group_norm(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    if len(shape) < 2:
        raise OpError(f"takes a blob of two axes or more, this one is {describe(shape)}")
    groups = int(params(node, "group_norm_param").group_num)
    if groups < 1:
        raise OpError("`group_num` must be positive")
    if shape[1] % groups:
        raise OpError(f"`group_num` {groups} does not divide the {shape[1]} channels of the input")
    return same_shape(node, shapes)


def _group_norm_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    return {"scale": (shapes[0][1],), "shift": (shapes[0][1],)}


def _infer_layer_norm(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    axis_of(params(node, "layer_norm_param").axis, len(shapes[0]))
    return same_shape(node, shapes)


def _layer_norm_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    param = params(node, "layer_norm_param")
    inner = shapes[0][axis_of(param.axis, len(shapes[0])) :]
    return {"scale": inner, "shift": inner} if param.affine else {}


NORMALIZE_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.MVN",
        summary="subtracts the mean of each channel or of each item, and divides by its deviation",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_mvn,
        parameter="mvn_param",
        quantizable=_ON,
        notes=_MVN_SHAPE,
    ),
    OpDef(
        name="caffe.Mvm",
        summary="MVN under the name that AMCT's manual also has",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_mvn,
        parameter="mvn_param",
        quantizable=_ON,
        notes=f"{_MVN_SHAPE}; the manual defines no layer of this name, so it is taken for MVN",
    ),
    OpDef(
        name="caffe.Normalize",
        summary="y = scale * x / sqrt(sum of squares + eps), the sum over an item or over the channels at one place",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_normalize,
        weight_shapes=_normalize_weights,
        parameter="norm_param",
        quantizable=_ON,
        notes="the SSD branch's layer; scale one number, or with `channel_shared: false` [C]",
    ),
    OpDef(
        name="caffe.GroupNorm",
        summary="y = scale * (x - mean) / sqrt(variance + eps) + shift, over groups of channels of each item",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_group_norm,
        weight_shapes=_group_norm_weights,
        parameter="group_norm_param",
        quantizable=_ON,
        notes="not a layer of BVLC Caffe; always has two blobs, scale and shift [C]; the variance is the biased one",
    ),
    OpDef(
        name="caffe.LayerNormalization",
        summary="y = scale * (x - mean) / sqrt(variance + eps) + shift, over the axes from `axis` on",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_layer_norm,
        weight_shapes=_layer_norm_weights,
        parameter="layer_norm_param",
        quantizable=_ON,
        notes=(
            "not a layer of BVLC Caffe; scale and shift have the shape of the axes from `axis` on, and are left out "
            "with `affine: false`; the variance is the biased one"
        ),
    ),
)
