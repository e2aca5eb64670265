"""Functions of each element beyond the common activations: ELU, Exp, Log, Swish, Cos, Equal, Axpy and others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from amctc.dialects.caffe.activation import elementwise
from amctc.dialects.caffe.become import become_relu
from amctc.dialects.caffe.blobs import axis_of, describe, need_equal, need_own_top
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, Bounded, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

NATURAL = -1.0
"""The `base` that stands for e in an Exp or a Log layer."""


def exp_factors(node: Node) -> tuple[float, float]:
    """What an Exp multiplies with before and behind exp: scale * log(base), base ** shift; float32 as in Caffe."""
    param = params(node, "exp_param")
    base, scale, shift = np.float32(param.base), np.float32(param.scale), np.float32(param.shift)
    natural = base == NATURAL
    with np.errstate(all="ignore"):
        inner = float(scale if natural else np.log(base) * scale)
        return inner, float(np.exp(shift) if natural else np.power(base, shift))


def log_factor(node: Node) -> float:
    """What a Log layer multiplies its natural logarithm with: 1 / log(base), float32 as in Caffe."""
    base = np.float32(params(node, "log_param").base)
    return 1.0 if base == NATURAL else float(np.float32(1) / np.log(base))


def rrelu_slope(node: Node) -> float:
    """The slope of an RReLU below 0: the mean of `lower` and `upper`, or `negative_slope` where only that is given."""
    if "relu_param" in node.attrs and "rrelu_param" not in node.attrs:
        return float(params(node, "relu_param").negative_slope)
    param = params(node, "rrelu_param")
    return (float(param.lower) + float(param.upper)) / 2


def crelu_axis(node: Node, rank: int) -> int:
    """The axis along which a CReLU joins its two halves."""
    return axis_of(params(node, "crelu_param").concat_axis, rank, "concat_axis")


def _infer_exp(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _need_base(float(params(node, "exp_param").base))
    return (shapes[0],)


def _infer_log(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    base = float(params(node, "log_param").base)
    _need_base(base)
    if base == 1:
        raise OpError("`base` cannot be 1: there is no logarithm to that base")
    return (shapes[0],)


def _need_base(base: float) -> None:
    if base != NATURAL and not 0 < base < math.inf:
        raise OpError(f"`base` must be positive and finite, or -1 for e, not {base:g}")


def _infer_clip(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    param = params(node, "clip_param")
    for name in ("min", "max"):
        if not param.HasField(name):
            raise OpError(f"needs `{name}` in `clip_param`")
        if math.isnan(getattr(param, name)):
            raise OpError(f"`{name}` is not a number")
    return (shapes[0],)


def _relu6_bound(node: Node) -> float | str:
    return float(params(node, "relu6_param").threshold)


def _relu6_bounds(node: Node) -> tuple[float, float] | None:
    param = params(node, "relu6_param")
    return (0.0, float(param.threshold)) if param.negative_slope == 0 else None


def _relu6_becomes_relu(node: Node) -> None:
    become_relu(node, float(params(node, "relu6_param").negative_slope))


def _clip_bound(node: Node) -> float | str:
    param = params(node, "clip_param")
    return float(param.max) if param.min == 0 else f"its `min` is {param.min:g}, not 0"


def _infer_crelu(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    (shape,) = shapes
    axis = crelu_axis(node, len(shape))
    return ((*shape[:axis], 2 * shape[axis], *shape[axis + 1 :]),)


def _compare(type: str, summary: str, parameter: str) -> OpDef:
    def infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        need_equal(shapes)
        if len(shapes) == 2 and params(node, parameter).HasField("value"):
            raise OpError(f"compares its two inputs; `value` in `{parameter}` is for a layer of one input")
        return (shapes[0],)

    return OpDef(
        name=f"caffe.{type}",
        summary=summary,
        inputs=Arity(1, 2),
        outputs=ONE,
        infer=infer,
        parameter=parameter,
        quantizable=Quantizable(on_by_default=False),
        notes="with two inputs, of one shape, b is the second; with one, b is `value` (the parameter is our own)",
    )


def _infer_axpy(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    a, x, y = shapes
    if x != y:
        raise OpError(f"x and y must have one shape: x is {describe(x)}, y is {describe(y)}")
    if len(x) < 2:
        raise OpError(f"takes an x of two axes or more, this one is {describe(x)}")
    if a[:2] != x[:2] or any(size != 1 for size in a[2:]):
        raise OpError(f"the first input must be {describe(x[:2])} or {describe(x[:2])}x1x1, this one is {describe(a)}")
    if node.output.blob in (node.inputs[0].blob, node.inputs[1].blob):
        # Caffe writes y into the top before it reads the other two.
        raise OpError("can work in place on its third input only; give the layer a top of its own")
    return (x,)


UNARY_OPS: tuple[OpDef, ...] = (
    elementwise("BNLL", "y = log(1 + exp(x))", on=True),
    OpDef(
        name="caffe.CReLU",
        summary="relu(x) and relu(-x), one behind the other along `concat_axis`",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_crelu,
        parameter="crelu_param",
        quantizable=Quantizable(on_by_default=True),
        notes="`negative_slope` applies to both halves, as in the forks that have the layer; not in place",
    ),
    elementwise("ELU", "y = max(x, 0) + alpha * (exp(min(x, 0)) - 1)", on=True, parameter="elu_param"),
    elementwise(
        "RReLU",
        "y = max(x, 0) + slope * min(x, 0), with the mean of the slopes used in training",
        on=False,
        parameter="rrelu_param",
        homogeneous=True,
        notes="slope = (lower + upper) / 2; `negative_slope`, as ATC reads it, if there is a `relu_param` only",
    ),
    replace(
        elementwise(
            "ReLU6",
            "y = min(max(x, 0) + negative_slope * min(x, 0), threshold)",
            on=False,
            parameter="relu6_param",
        ),
        bounded=Bounded(_relu6_bound, _relu6_becomes_relu),
        clamps=_relu6_bounds,
    ),
    replace(
        elementwise(
            "Clip",
            "y = max(min, min(x, max))",
            on=False,
            parameter="clip_param",
            infer=_infer_clip,
            notes="NaN stays NaN; Caffe makes it `min`",
        ),
        bounded=Bounded(_clip_bound, become_relu),
        clamps=lambda node: (float(params(node, "clip_param").min), float(params(node, "clip_param").max)),
    ),
    elementwise("Swish", "y = x / (1 + exp(-beta * x))", on=False, parameter="swish_param"),
    elementwise(
        "Hswish",
        "y = x * max(0, min(1, alpha * x + beta))",
        on=True,
        parameter="hswish_param",
        notes="x * relu6(x + 3) / 6 unless `alpha` and `beta`, which are our own, say otherwise",
    ),
    elementwise(
        "HardSwish",
        "y = x * max(0, min(1, alpha * x + beta))",
        on=None,
        parameter="hswish_param",
        notes="another name of Hswish",
    ),
    elementwise("HardSigmoid", "y = max(0, min(1, alpha * x + beta))", on=None, parameter="hardsigmoid_param"),
    elementwise("Mish", "y = x * tanh(log(1 + exp(x)))", on=None),
    elementwise("Threshold", "y = 1 where x > threshold, else 0", on=True, parameter="threshold_param"),
    elementwise(
        "Exp",
        "y = base ** (shift + scale * x)",
        on=True,
        parameter="exp_param",
        infer=_infer_exp,
        activation=False,
        notes="`base` -1 is e",
    ),
    elementwise(
        "Log",
        "y = log(shift + scale * x) to the base `base`",
        on=True,
        parameter="log_param",
        infer=_infer_log,
        activation=False,
        notes="`base` -1 is e; NaN where the argument is negative, -inf where it is 0",
    ),
    elementwise("Sqrt", "y = sqrt(x)", on=True, activation=False, notes="NaN where x is negative"),
    elementwise("Ceil", "y = the smallest integer not below x", on=True, activation=False),
    elementwise("Sign", "y = -1, 0 or 1, the sign of x", on=False, activation=False),
    elementwise("Cos", "y = cos(x), x in radians", on=False, activation=False),
    elementwise("Sin", "y = sin(x), x in radians", on=False, activation=False),
    elementwise("Erf", "y = erf(x), the error function", on=False, activation=False),
    _compare("Equal", "y = 1 where x = b, else 0", "equal_param"),
    _compare("Greater", "y = 1 where x > b, else 0", "greater_param"),
    OpDef(
        name="caffe.Axpy",
        summary="a * x + y, one factor a for each sample and channel",
        inputs=Arity(3, 3),
        outputs=ONE,
        infer=_infer_axpy,
        quantizable=Quantizable(on_by_default=True),
        notes="the inputs are a [N, C] or [N, C, 1, 1], x and y; in place on y only",
    ),
)
"""Functions of each element beyond the common activations."""
