"""Functions of single elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from amctc.dialects.ge.become import with_relu, with_scale
from amctc.dialects.ge.fields import ints, number
from amctc.dialects.ge.filled import constant, lies_nhwc
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.text.plain import Plain

_SIX = 6.0


def _plain(type: str, layer: str) -> OpDef:
    """The row of an op without attributes."""
    return kin_row(type, lambda node: Kin(layer), layer)


def _leaky_relu(node: Node) -> Kin:
    return Kin("caffe.ReLU", {"relu_param": {"negative_slope": number(node, "negative_slope")}})


def _prelu(node: Node) -> Kin:
    """One slope for all channels where there is only one number."""
    slope = constant(node, "weight").astype(np.float32)
    shared = slope.size == 1
    shape: Shape = () if shared else (slope.size,)
    attrs: dict[str, Plain] = {"prelu_param": {"channel_shared": shared}}
    return Kin("caffe.PReLU", attrs, {"slope": slope.reshape(shape)}, moved=lies_nhwc(node))


def _elu(node: Node) -> Kin:
    if (number(node, "scale"), number(node, "input_scale")) != (1, 1):
        raise NoKin("cannot be run: only 1 is supported as `scale` and `input_scale`")
    return Kin("caffe.ELU", {"elu_param": {"alpha": number(node, "alpha")}})


def _swish(node: Node) -> Kin:
    return Kin("caffe.Swish", {"swish_param": {"beta": number(node, "scale")}})


def _threshold(node: Node) -> Kin:
    return Kin("caffe.Threshold", {"threshold_param": {"threshold": number(node, "threshold")}})


def _exp(node: Node) -> Kin:
    return Kin("caffe.Exp", {"exp_param": {name: number(node, name) for name in ("base", "scale", "shift")}})


def _log(node: Node) -> Kin:
    return Kin("caffe.Log", {"log_param": {name: number(node, name) for name in ("base", "scale", "shift")}})


def _power(node: Node) -> Kin:
    return Kin("caffe.Power", {"power_param": {name: number(node, name) for name in ("power", "scale", "shift")}})


def _softmax(node: Node) -> Kin:
    axes = ints(node, "axes")
    if len(axes) != 1:
        raise NoKin("cannot be run: a softmax over several axes is not supported")
    return Kin("caffe.Softmax", {"softmax_param": {"axis": axes[0]}})


ACTIVATION_OPS: tuple[OpDef, ...] = (
    _plain("Relu", "caffe.ReLU"),
    with_relu(replace(_plain("Relu6", "caffe.ReLU6"), summary="y = min(max(x, 0), 6)"), _SIX),
    kin_row("LeakyRelu", _leaky_relu, "caffe.ReLU"),
    kin_row("PRelu", _prelu, "caffe.PReLU", notes="weight: one slope for each channel, or one for all"),
    _plain("Sigmoid", "caffe.Sigmoid"),
    _plain("Tanh", "caffe.TanH"),
    _plain("Abs", "caffe.AbsVal"),
    _plain("BNLL", "caffe.BNLL"),
    kin_row("Elu", _elu, "caffe.ELU"),
    kin_row("Swish", _swish, "caffe.Swish", notes="`scale` is the factor of x in the exponent"),
    _plain("HardSwish", "caffe.HardSwish"),
    _plain("Mish", "caffe.Mish"),
    kin_row("Threshold", _threshold, "caffe.Threshold"),
    kin_row("Exp", _exp, "caffe.Exp"),
    kin_row("Log", _log, "caffe.Log"),
    with_scale(kin_row("Power", _power, "caffe.Power")),
    kin_row("SoftmaxV2", _softmax, "caffe.Softmax", notes="axes: one axis of the data as they lie"),
)
