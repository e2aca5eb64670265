"""Functions of each element, and arithmetic with constants and of two values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape
from amctc.targets.caffe.from_onnx.builder import (
    FLOAT,
    Crossing,
    Rule,
    Unsayable,
    attribute,
    axis_of,
    floats,
    need_shape,
    number,
)
from amctc.text.plain import Plain


def _plain(type: str) -> Rule:
    """A layer without parameters."""

    def cross(c: Crossing, node: Node) -> None:
        c.finish(node, c.map(node, type, c.data(node)))

    return cross


def _power(power: float = 1.0, scale: float = 1.0) -> Rule:
    def cross(c: Crossing, node: Node) -> None:
        c.finish(node, power_layer(c, node, c.data(node), power=power, scale=scale))

    return cross


def power_layer(
    c: Crossing,
    node: Node,
    source: Value,
    *,
    power: float = 1.0,
    scale: float = 1.0,
    shift: float = 0.0,
    part: str = "",
) -> Value:
    """(shift + scale * x) ** power."""
    given = {"power": power, "scale": scale, "shift": shift}
    usual = {"power": 1.0, "scale": 1.0, "shift": 0.0}
    parameters: dict[str, Plain] = {name: value for name, value in given.items() if value != usual[name]}
    return c.map(node, "Power", source, parameters, part=part)


def cross_leaky(c: Crossing, node: Node) -> None:
    c.finish(node, c.map(node, "ReLU", c.data(node), {"negative_slope": number(node, "alpha", 0.01)}))


def cross_elu(c: Crossing, node: Node) -> None:
    c.finish(node, c.map(node, "ELU", c.data(node), {"alpha": number(node, "alpha", 1.0)}))


def cross_hard_sigmoid(c: Crossing, node: Node) -> None:
    parameters: dict[str, Plain] = {"alpha": number(node, "alpha", 0.2), "beta": number(node, "beta", 0.5)}
    c.finish(node, c.map(node, "HardSigmoid", c.data(node), parameters))


def cross_prelu(c: Crossing, node: Node) -> None:
    """PReLU, with one slope for each channel or for all."""
    slope, data = c.constant(node, 1, "slope"), c.data(node)
    shape = need_shape(data)
    if slope is None:
        raise Unsayable("has no slope")
    if slope.size == 1:
        c.finish(node, _slopes(c, node, data, floats(slope).reshape(()), shared=True))
        return
    padded = (1,) * (len(shape) - slope.ndim) + slope.shape
    if len(shape) < 2 or slope.size != shape[1] or padded[1:2] != (shape[1],):
        raise Unsayable(f"has slopes of {list(slope.shape)}: a PReLU has one for each channel, or one for all")
    c.finish(node, _slopes(c, node, data, floats(slope).reshape(-1), shared=False))


def _slopes(c: Crossing, node: Node, data: Value, slopes: Array, *, shared: bool) -> Value:
    parameters: dict[str, Plain] = {"channel_shared": True} if shared else {}
    return c.map(node, "PReLU", data, parameters, weights={"slope": slopes})


def cross_clip(c: Crossing, node: Node) -> None:
    """ReLU, ReLU6 or Clip, by the bounds."""
    low, high = c.constant(node, 1, "lower bound"), c.constant(node, 2, "upper bound")
    most = float(np.finfo(np.float32).max)
    least = -most if low is None else float(low.reshape(-1)[0])
    bound = most if high is None else float(high.reshape(-1)[0])
    data = c.data(node)
    if least == 0 and bound >= most:
        c.finish(node, c.map(node, "ReLU", data))
    elif (least, bound) == (0.0, 6.0):
        c.finish(node, c.map(node, "ReLU6", data))
    else:
        c.finish(node, c.map(node, "Clip", data, {"min": max(least, -most), "max": min(bound, most)}))


def cross_softmax(c: Crossing, node: Node) -> None:
    data = c.data(node)
    axis = axis_of(int(number(node, "axis", -1)), len(need_shape(data)))
    c.finish(node, c.map(node, "Softmax", data, {"axis": axis}))


def cross_log_softmax(c: Crossing, node: Node) -> None:
    data = c.data(node)
    axis = axis_of(int(number(node, "axis", -1)), len(need_shape(data)))
    c.finish(node, c.map(node, "Log", c.map(node, "Softmax", data, {"axis": axis}, part="softmax")))


def cross_identity(c: Crossing, node: Node) -> None:
    """Nothing; a layer only where both sides are outputs of the graph."""
    if any(c.source.uses(value) or c.source.is_output(value) for value in node.outputs[1:]):
        raise Unsayable("gives its mask")
    found = c.operand(node, 0)
    if isinstance(found, np.ndarray):
        c.constants[node.output] = found
        return
    data = c.data(node)
    if not c.source.is_output(node.output):
        c.values[node.output] = data
    elif c.source.is_output(node.inputs[0]) or data.producer.op in ("caffe.Input", "caffe.Parameter"):
        c.finish(node, c.map(node, "Power", data))
    else:
        c.finish(node, data)


def cross_dropout(c: Crossing, node: Node) -> None:
    training = c.constant(node, 2, "training mode")
    if training is not None and bool(training.any()):
        raise Unsayable("drops elements at inference")
    cross_identity(c, node)


def cross_cast(c: Crossing, node: Node) -> None:
    if number(node, "to", 0) != 1:
        raise Unsayable("gives another type than float32")
    cross_identity(c, node)


# -- arithmetic ------------------------------------------------------------------------------------


def cross_add(c: Crossing, node: Node) -> None:
    a, b = c.operand(node, 0), c.operand(node, 1)
    if isinstance(a, Value) and isinstance(b, Value):
        c.finish(node, _sum(c, node, a, b))
        return
    data, constant = (a, b) if isinstance(a, Value) else (b, a)
    c.finish(node, _add_constant(c, node, _value(data), _array(constant)))


def cross_sub(c: Crossing, node: Node) -> None:
    a, b = c.operand(node, 0), c.operand(node, 1)
    if isinstance(a, Value) and isinstance(b, Value):
        if a.shape == b.shape:
            c.finish(node, _eltwise(c, node, "SUM", [a, b], (1.0, -1.0)))
        else:
            c.finish(node, _sum(c, node, a, power_layer(c, node, b, scale=-1.0, part="negative")))
    elif isinstance(a, Value):
        c.finish(node, _add_constant(c, node, a, np.negative(floats(_array(b)))))
    else:
        negative = power_layer(c, node, _value(b), scale=-1.0, part="negative")
        c.finish(node, _add_constant(c, node, negative, _array(a)))


def cross_mul(c: Crossing, node: Node) -> None:
    a, b = c.operand(node, 0), c.operand(node, 1)
    if isinstance(a, Value) and isinstance(b, Value):
        c.finish(node, _product(c, node, a, b))
        return
    data, constant = (a, b) if isinstance(a, Value) else (b, a)
    c.finish(node, _scale_constant(c, node, _value(data), floats(_array(constant))))


def cross_div(c: Crossing, node: Node) -> None:
    a, b = c.operand(node, 0), c.operand(node, 1)
    if isinstance(b, Value):
        inverse = power_layer(c, node, b, power=-1.0, part="inverse")
        found = _product(c, node, a, inverse) if isinstance(a, Value) else None
        c.finish(node, found or _scale_constant(c, node, inverse, floats(_array(a))))
        return
    divisor = floats(_array(b))
    if not divisor.all():
        raise Unsayable("divides by 0")
    inverse_of = (1.0 / divisor.astype(np.float64)).astype(np.float32)
    c.finish(node, _scale_constant(c, node, _value(a), inverse_of))


def cross_pow(c: Crossing, node: Node) -> None:
    exponent = c.constant(node, 1, "exponent")
    if exponent is None or exponent.size != 1:
        raise Unsayable("has exponents that differ")
    c.finish(node, power_layer(c, node, c.data(node), power=float(exponent.reshape(-1)[0])))


def _many(operation: str) -> Rule:
    """Sum, Max and Mean of any number of values."""

    def cross(c: Crossing, node: Node) -> None:
        values = [c.data(node, index) for index in range(len(c.operands(node)))]
        if len(values) == 1:
            c.finish(node, c.map(node, "Power", values[0]))
            return
        if len({value.shape for value in values}) > 1:
            raise Unsayable("has operands of different shapes, which Eltwise does not take")
        factors = (1.0 / len(values),) * len(values) if operation == "MEAN" else ()
        c.finish(node, _eltwise(c, node, "SUM" if operation == "MEAN" else operation, values, factors))

    return cross


def cross_min(c: Crossing, node: Node) -> None:
    """-max(-a, -b)."""
    values = [c.data(node, index) for index in range(len(c.operands(node)))]
    if len(values) == 1:
        c.finish(node, c.map(node, "Power", values[0]))
        return
    if len({value.shape for value in values}) > 1:
        raise Unsayable("has operands of different shapes, which Eltwise does not take")
    negative = [power_layer(c, node, value, scale=-1.0, part="negative") for value in values]
    top = c.layer(node, "Eltwise", negative, {"operation": "MAX"}, part="max").output
    c.finish(node, power_layer(c, node, top, scale=-1.0))


def _eltwise(c: Crossing, node: Node, operation: str, values: list[Value], factors: tuple[float, ...] = ()) -> Value:
    parameters: dict[str, Plain] = {"operation": operation}
    if factors:
        parameters["coeff"] = factors
    return c.layer(node, "Eltwise", values, parameters).output


def _sum(c: Crossing, node: Node, a: Value, b: Value) -> Value:
    if a.shape == b.shape:
        return _eltwise(c, node, "SUM", [a, b])
    data, other, axis = _broadcast(c, node, a, b)
    return c.layer(node, "Bias", [data, other], {"axis": axis}).output


def _product(c: Crossing, node: Node, a: Value, b: Value) -> Value:
    if a.shape == b.shape:
        return _eltwise(c, node, "PROD", [a, b])
    data, other, axis = _broadcast(c, node, a, b)
    return c.layer(node, "Scale", [data, other], {"axis": axis}).output


def _broadcast(c: Crossing, node: Node, a: Value, b: Value) -> tuple[Value, Value, int]:
    """(data, the operand that is broadcast to them, the axis from which on it runs along theirs)."""
    for data, other in ((a, b), (b, a)):
        shape = need_shape(data)
        found = _run(shape, need_shape(other), keep_first=True)
        if found is not None:
            start, end = found
            return data, c.reshaped(node, other, shape[start:end], part="reshape"), start
    raise Unsayable("has operands of which neither has the shape of the result")


def _run(shape: Shape, other: Shape, *, keep_first: bool = False) -> tuple[int, int] | None:
    """The axes [start, end) of `shape` that an operand runs along; None where they are not one run of equal sizes.

    With `keep_first` that begins with the samples where the operand has them.
    """
    if len(other) > len(shape):
        return None
    padded = (1,) * (len(shape) - len(other)) + other
    axes = [axis for axis, size in enumerate(padded) if size != 1]
    if keep_first and len(other) == len(shape) and padded[0] == shape[0]:
        axes.insert(0, 0)
    if not axes:
        return 0, 0
    start, end = min(axes), max(axes) + 1
    return (start, end) if padded[start:end] == shape[start:end] else None


def _add_constant(c: Crossing, node: Node, data: Value, constant: Array) -> Value:
    """Power for one number, else Bias."""
    array = floats(constant)
    if array.size == 1 and array.ndim <= len(need_shape(data)):
        return power_layer(c, node, data, shift=float(array.reshape(-1)[0]))
    axis, spread = _spread(data, array)
    parameters: dict[str, Plain] = {"axis": axis, "num_axes": spread.ndim}
    return c.map(node, "Bias", data, parameters, weights={"bias": spread})


def _scale_constant(c: Crossing, node: Node, data: Value, array: Array) -> Value:
    """Power for one number, else Scale."""
    if array.size == 1 and array.ndim <= len(need_shape(data)):
        return power_layer(c, node, data, scale=float(array.reshape(-1).astype(np.float32)[0]))
    axis, spread = _spread(data, array)
    parameters: dict[str, Plain] = {"axis": axis, "num_axes": spread.ndim}
    return c.map(node, "Scale", data, parameters, weights={"scale": spread})


def _spread(data: Value, array: Array) -> tuple[int, Array]:
    """The axis from which on a constant runs along the data, and the constant over these axes, whole."""
    shape = need_shape(data)
    padded = (1,) * (len(shape) - array.ndim) + array.shape
    axes = [axis for axis, size in enumerate(padded) if size != 1]
    if len(padded) != len(shape) or any(padded[axis] != shape[axis] for axis in axes) or not axes:
        raise Unsayable(f"has a constant of {list(array.shape)}, to which its data of {list(shape)} are broadcast")
    start, end = min(axes), max(axes) + 1
    spread = np.broadcast_to(array.reshape(padded[start:end]), shape[start:end])
    return start, np.ascontiguousarray(spread)


def _value(operand: Value | Array | None) -> Value:
    if not isinstance(operand, Value):
        raise Unsayable("has constants alone for operands")
    return operand


def _array(operand: Value | Array | None) -> Array:
    if not isinstance(operand, np.ndarray):
        raise Unsayable("lacks an operand")
    return operand


ELEMENTWISE: Mapping[str, Rule] = MappingProxyType(
    {
        "Relu": _plain("ReLU"),
        "Sigmoid": _plain("Sigmoid"),
        "Tanh": _plain("TanH"),
        "Softplus": _plain("BNLL"),
        "Mish": _plain("Mish"),
        "HardSwish": _plain("HardSwish"),
        "Abs": _plain("AbsVal"),
        "Exp": _plain("Exp"),
        "Log": _plain("Log"),
        "Erf": _plain("Erf"),
        "Ceil": _plain("Ceil"),
        "Sign": _plain("Sign"),
        "Cos": _plain("Cos"),
        "Sin": _plain("Sin"),
        "Sqrt": _power(power=0.5),
        "Reciprocal": _power(power=-1.0),
        "Neg": _power(scale=-1.0),
        "LeakyRelu": cross_leaky,
        "Elu": cross_elu,
        "HardSigmoid": cross_hard_sigmoid,
        "PRelu": cross_prelu,
        "Clip": cross_clip,
        "Softmax": cross_softmax,
        "LogSoftmax": cross_log_softmax,
        "Identity": cross_identity,
        "Dropout": cross_dropout,
        "Cast": cross_cast,
        "Add": cross_add,
        "Sub": cross_sub,
        "Mul": cross_mul,
        "Div": cross_div,
        "Pow": cross_pow,
        "Sum": _many("SUM"),
        "Max": _many("MAX"),
        "Mean": _many("MEAN"),
        "Min": cross_min,
    }
)

__all__ = ["ELEMENTWISE", "FLOAT", "attribute"]
