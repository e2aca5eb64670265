"""Maps of each channel: BNInference, Scale, Bias."""

from __future__ import annotations

import numpy as np

from amctc.dialects.ge.become import with_scale
from amctc.dialects.ge.fields import flag, number, whole
from amctc.dialects.ge.filled import constant, has_value, lies_nhwc, optional_constant, value_number
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin, to_nchw_axes
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.text.plain import Plain

_IMAGE_RANK = 4


def _bn_inference(node: Node) -> Kin:
    """Caffe's BatchNorm, whose third blob divides mean and variance; with a scale or an offset, Caffe's Scale."""
    if not flag(node, "use_global_stats"):
        raise NoKin("cannot be run: without `use_global_stats` it takes mean and variance from its data")
    statistics: dict[str, Array] = {
        "mean": constant(node, "mean").reshape(-1),
        "variance": constant(node, "variance").reshape(-1),
        "factor": constant(node, "momentum").reshape(-1),
    }
    if statistics["factor"].size != 1:
        raise OpError(f"needs one number as its `momentum`, not {statistics['factor'].size}")
    scale, offset = optional_constant(node, "scale"), optional_constant(node, "offset")
    epsilon = number(node, "epsilon")
    if scale is None and offset is None:
        param: dict[str, Plain] = {"eps": epsilon, "use_global_stats": True}
        return Kin("caffe.BatchNorm", {"batch_norm_param": param}, statistics, moved=lies_nhwc(node))
    mean, variance, factor = (array.astype(np.float64) for array in statistics.values())
    with np.errstate(all="ignore"):
        share = 0.0 if factor[0] == 0 else 1 / factor[0]
        a = (1.0 if scale is None else scale.astype(np.float64).reshape(-1)) / np.sqrt(variance * share + epsilon)
        b = (0.0 if offset is None else offset.astype(np.float64).reshape(-1)) - mean * share * a
    weights: dict[str, Array] = {"scale": a.astype(np.float32), "bias": b.astype(np.float32)}
    return Kin("caffe.Scale", {"scale_param": {"bias_term": True}}, weights, moved=lies_nhwc(node))


def _along(node: Node, second: str) -> tuple[dict[str, Plain], bool]:
    """`axis` and `num_axes` for Caffe's layer, and whether the data are to be moved to NCHW for it.

    The axis is one of the data as they lie, and in Caffe's layout the same one has another number. What is not of a
    blob goes along as many axes as it has, whatever `num_axes` says.
    """
    axis, count = whole(node, "axis"), whole(node, "num_axes")
    if not flag(node, f"{second}_from_blob") and not has_value(node, second):
        count = constant(node, second).ndim
    if not lies_nhwc(node) or count != 1 or has_value(node, second):
        return {"axis": axis, "num_axes": count}, False
    shape = node.inputs[0].shape
    rank = _IMAGE_RANK if shape is None else len(shape)
    if not -rank <= axis < rank or rank < 2:
        raise OpError(f"`axis` {axis} is outside data of {rank} axes")
    return {"axis": to_nchw_axes(rank).index(axis % rank), "num_axes": count}, True


def _scale(node: Node) -> Kin:
    bias = optional_constant(node, "bias")
    param, moved = _along(node, "scale")
    param["bias_term"] = bias is not None
    weights: dict[str, Array] = {} if bias is None else {"bias": bias}
    if has_value(node, "scale"):
        inputs = (value_number(node, "x"), value_number(node, "scale"))
        return Kin("caffe.Scale", {"scale_param": param}, weights, inputs)
    weights["scale"] = constant(node, "scale")
    return Kin("caffe.Scale", {"scale_param": param}, weights, (value_number(node, "x"),), moved=moved)


def _bias(node: Node) -> Kin:
    param, moved = _along(node, "bias")
    if has_value(node, "bias"):
        inputs = (value_number(node, "x"), value_number(node, "bias"))
        return Kin("caffe.Bias", {"bias_param": param}, {}, inputs)
    return Kin(
        "caffe.Bias", {"bias_param": param}, {"bias": constant(node, "bias")}, (value_number(node, "x"),), moved=moved
    )


AFFINE_OPS: tuple[OpDef, ...] = (
    with_scale(
        kin_row(
            "BNInference",
            _bn_inference,
            "caffe.BatchNorm",
            notes=(
                "mean, variance [C]; momentum divides both, as Caffe's third blob does; with a scale or an offset it "
                "is run as Caffe's Scale"
            ),
        )
    ),
    with_scale(kin_row("Scale", _scale, "caffe.Scale", notes="`axis` is one of the data as they lie")),
    with_scale(kin_row("Bias", _bias, "caffe.Bias", notes="`axis` is one of the data as they lie")),
)
