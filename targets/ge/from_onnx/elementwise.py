"""Functions of single elements, and arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.ir import Node, Value
from amctc.ir.node import Array
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable, need_shape
from amctc.targets.ge.from_onnx.reading import (
    FLOATS,
    axis_of,
    constant,
    data,
    finish,
    number,
    one,
    operand,
    operands_of,
    rank_of,
    scalar,
    whole,
    word,
)

_LARGEST = float(np.finfo(np.float32).max)
_HALF_ROOT = 1 / np.sqrt(2.0)
_TANH = "tanh"


def _plain(type: str) -> Rule:
    """An op of one input without attributes."""

    def cross(c: Crossing, node: Node) -> None:
        one(c, node, type, [data(c, node)])

    return cross


def _leaky(c: Crossing, node: Node) -> None:
    one(c, node, "LeakyRelu", [data(c, node)], {"negative_slope": number(node, "alpha", 0.01)})


def _elu(c: Crossing, node: Node) -> None:
    one(c, node, "Elu", [data(c, node)], {"alpha": number(node, "alpha", 1.0)})


def _selu(c: Crossing, node: Node) -> None:
    """GE's has no parameters: they are ONNX's own."""
    usual = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    if any(abs(number(node, name, default) - default) > 1e-6 for name, default in usual.items()):
        raise Unsayable("has another `alpha` or `gamma` than the usual one")
    one(c, node, "Selu", [data(c, node)])


def _hard_sigmoid(c: Crossing, node: Node) -> None:
    attributes = {"alpha": number(node, "alpha", 0.2), "beta": number(node, "beta", 0.5)}
    one(c, node, "HardSigmoid", [data(c, node)], attributes)


def _gelu(c: Crossing, node: Node) -> None:
    """x / 2 * (1 + erf(x / sqrt 2)); GE's Gelu is the one by tanh."""
    x = data(c, node)
    if word(node, "approximate", "none") == _TANH:
        one(c, node, "Gelu", [x])
        return
    inner = c.op(node, "Mul", [x, _like(x, _HALF_ROOT)], part="scaled").output
    plus = c.op(node, "Add", [c.op(node, "Erf", [inner], part="erf").output, _like(x, 1.0)], part="sum").output
    half = c.op(node, "Mul", [x, _like(x, 0.5)], part="half").output
    one(c, node, "Mul", [half, plus])


def _like(value: Value, constant: float) -> Array:
    return np.array(constant, value.dtype)


def _prelu(c: Crossing, node: Node) -> None:
    """One slope for each channel of axis 1, or one for all."""
    slope, x = constant(c, node, 1, "slope"), data(c, node)
    shape = need_shape(x)
    if slope is None or len(shape) < 2:
        raise Unsayable("has no slope, or data without channels")
    padded = (1,) * (len(shape) - slope.ndim) + slope.shape
    if slope.size == 1:
        slopes = slope.reshape(1) if shape[1] == 1 else np.repeat(slope.reshape(1), shape[1])
    elif slope.size == shape[1] == padded[1]:
        slopes = slope.reshape(-1)
    else:
        raise Unsayable(f"has slopes of {list(slope.shape)}: a PRelu has one for each channel, or one for all")
    one(c, node, "PRelu", [x, slopes])


def _clip(c: Crossing, node: Node) -> None:
    """ClipByValue; a bound that is left out is the largest number there is."""
    x = data(c, node)
    if x.dtype in FLOATS:
        widest = min(_LARGEST, float(np.finfo(x.dtype).max))
        ends: tuple[float, float] = (-widest, widest)
    else:
        info = np.iinfo(x.dtype)
        ends = (info.min, info.max)
    bounds: list[Operand] = []
    for index, (name, end) in enumerate(zip(("min", "max"), ends, strict=True), start=1):
        found = operand(c, node, index)
        if found is None:
            found = np.array(number(node, name, end) if name in node.attrs else end, x.dtype)
        bounds.append(scalar(found, "a bound") if isinstance(found, np.ndarray) else found)
    one(c, node, "ClipByValue", [x, *bounds])


def _softmax(type: str) -> Rule:
    def cross(c: Crossing, node: Node) -> None:
        x = data(c, node)
        one(c, node, type, [x], {"axes": (axis_of(whole(node, "axis", -1), rank_of(x)),)})

    return cross


def _of_two(type: str) -> Rule:
    def cross(c: Crossing, node: Node) -> None:
        found = operands_of(c, node)
        if len(found) != 2:
            raise Unsayable("does not have two operands")
        one(c, node, type, found)

    return cross


def _div(c: Crossing, node: Node) -> None:
    """RealDiv of floats, Div of integers, which cuts the fraction off."""
    one(c, node, "RealDiv" if node.output.dtype in FLOATS else "Div", operands_of(c, node))


def _many(type: str) -> Rule:
    """Sum, Max and Min of any number of values: two at a time."""

    def cross(c: Crossing, node: Node) -> None:
        if len(operands_of(c, node)) == 1:
            one(c, node, "Identity", [data(c, node)])
        else:
            finish(c, node, _chain(c, node, type, ""))

    return cross


def _mean(c: Crossing, node: Node) -> None:
    count = len(operands_of(c, node))
    if count == 1:
        one(c, node, "Identity", [data(c, node)])
        return
    total = _chain(c, node, "Add", "sum")
    one(c, node, "RealDiv", [total, _like(total, count)])


def _chain(c: Crossing, node: Node, type: str, last: str) -> Value:
    """The first two operands, the result and the third, …; the last op does the part `last` ("": its namesake)."""
    found = operands_of(c, node)
    current = found[0] if any(isinstance(each, Value) for each in found[:2]) else data(c, node)
    for place, other in enumerate(found[1:], start=1):
        part = last if place == len(found) - 1 else f"part{place}"
        current = c.op(node, type, [current, other], part=part).output
    return current if isinstance(current, Value) else data(c, node)


ELEMENTWISE: Mapping[str, Rule] = MappingProxyType(
    {
        **{
            f"onnx.{type}": _plain(type)
            for type in (
                "Relu",
                "Sigmoid",
                "Tanh",
                "Abs",
                "Exp",
                "Log",
                "HardSwish",
                "Softplus",
                "Softsign",
                "Erf",
                "Sqrt",
                "Neg",
                "Floor",
                "Ceil",
                "Sign",
                "Reciprocal",
                "Cos",
                "Sin",
            )
        },
        "onnx.Round": _plain("Rint"),
        "onnx.Not": _plain("LogicalNot"),
        "onnx.LeakyRelu": _leaky,
        "onnx.Elu": _elu,
        "onnx.Selu": _selu,
        "onnx.HardSigmoid": _hard_sigmoid,
        "onnx.Gelu": _gelu,
        "onnx.PRelu": _prelu,
        "onnx.Clip": _clip,
        "onnx.Softmax": _softmax("SoftmaxV2"),
        "onnx.LogSoftmax": _softmax("LogSoftmaxV2"),
        "onnx.Add": _of_two("Add"),
        "onnx.Sub": _of_two("Sub"),
        "onnx.Mul": _of_two("Mul"),
        "onnx.Div": _div,
        "onnx.Pow": _of_two("Pow"),
        "onnx.Equal": _of_two("Equal"),
        "onnx.Greater": _of_two("Greater"),
        "onnx.Less": _of_two("Less"),
        "onnx.Sum": _many("Add"),
        "onnx.Max": _many("Maximum"),
        "onnx.Min": _many("Minimum"),
        "onnx.Mean": _mean,
    }
)
