"""Functions of single elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.unary import rrelu_slope
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable
from amctc.text.plain import Plain

_SIX = 6


def _op(type: str, attributes: Callable[[Node], Mapping[str, Plain]] = lambda node: {}) -> Rule:
    """The rule of a layer that is one op."""

    def rule(c: Crossing, node: Node) -> None:
        c.map(node, type, c.inputs(node), attributes(node))

    return rule


def _numbers(field: str, **attributes: str) -> Callable[[Node], Mapping[str, Plain]]:
    """Attributes from fields of the layer's own parameters: `attribute="field"`."""

    def found(node: Node) -> Mapping[str, Plain]:
        param = params(node, field)
        return {name: float(getattr(param, of)) for name, of in attributes.items()}

    return found


def _relu6(c: Crossing, node: Node) -> None:
    param = params(node, "relu6_param")
    if (param.negative_slope, param.threshold) != (0, _SIX):
        raise Unsayable("has a slope, or a bound that is not 6: GE's Relu6 has neither")
    c.map(node, "Relu6", c.inputs(node))


def _rrelu(c: Crossing, node: Node) -> None:
    c.map(node, "LeakyRelu", c.inputs(node), {"negative_slope": rrelu_slope(node)})


def _prelu(c: Crossing, node: Node) -> None:
    slope = node.weights.get("slope")
    if slope is None:
        raise Unsayable("has no weights")
    c.map(node, "PRelu", [*c.inputs(node), slope.reshape(-1)])


def _hard_swish(c: Crossing, node: Node) -> None:
    param = params(node, "hswish_param")
    if (np.float32(param.alpha), param.beta) != (np.float32(1 / 6), 0.5):
        raise Unsayable("has an `alpha` or `beta` of its own: GE's HardSwish is x * relu6(x + 3) / 6")
    c.map(node, "HardSwish", c.inputs(node))


def _softmax(c: Crossing, node: Node) -> None:
    c.map(node, "SoftmaxV2", c.inputs(node), {"axes": (int(params(node, "softmax_param").axis),)})


_LINE = {"scale": "scale", "shift": "shift"}

ELEMENTWISE: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.ReLU": _op("LeakyRelu", _numbers("relu_param", negative_slope="negative_slope")),
        "caffe.RReLU": _rrelu,
        "caffe.ReLU6": _relu6,
        "caffe.PReLU": _prelu,
        "caffe.Sigmoid": _op("Sigmoid"),
        "caffe.TanH": _op("Tanh"),
        "caffe.AbsVal": _op("Abs"),
        "caffe.BNLL": _op("BNLL"),
        "caffe.ELU": _op("Elu", _numbers("elu_param", alpha="alpha")),
        "caffe.Exp": _op("Exp", _numbers("exp_param", base="base", **_LINE)),
        "caffe.Log": _op("Log", _numbers("log_param", base="base", **_LINE)),
        "caffe.Power": _op("Power", _numbers("power_param", power="power", **_LINE)),
        "caffe.Threshold": _op("Threshold", _numbers("threshold_param", threshold="threshold")),
        "caffe.Mish": _op("Mish"),
        "caffe.Swish": _op("Swish", _numbers("swish_param", scale="beta")),
        "caffe.Hswish": _hard_swish,
        "caffe.HardSwish": _hard_swish,
        "caffe.Softmax": _softmax,
    }
)
