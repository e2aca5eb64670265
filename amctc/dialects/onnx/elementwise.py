"""Activations, BatchNormalization, and arithmetic with a constant for each channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.onnx.generic import ONNX, generic_row
from amctc.dialects.onnx.operands import ABSENT, INITIALIZERS, operands
from amctc.dialects.op import Affine, Bounded, OpDef, Quantizable
from amctc.ir import Node, Value

Coefficients = tuple[NDArray[np.float64], NDArray[np.float64]] | str

_FLOAT = "float32"


def _batch_norm(node: Node, channels: int) -> Coefficients:
    if node_attribute(node, "training_mode", 0) or len(node.outputs) > 1:
        return "it takes the statistics of the batch"
    arrays = [node.weights.get(role) for role in ("scale", "bias", "mean", "variance")]
    scale, bias, mean, variance = (None if array is None else array.astype(np.float64) for array in arrays)
    if scale is None or bias is None or mean is None or variance is None:
        return "its scale, bias and statistics are not all constant"
    if {array.shape for array in (scale, bias, mean, variance)} != {(channels,)}:
        return f"it has {scale.size} channels, not {channels}"
    a = scale / np.sqrt(variance + node_attribute(node, "epsilon", 1e-5))
    return a, bias - mean * a


def _operand(node: Node, channels: int) -> NDArray[np.float64] | str:
    """The constant operand as one number for each channel of axis 1, or why it is not that."""
    if len(node.inputs) != 1 or len(node.weights) != 1:
        return "both of its operands are data"
    (constant,) = node.weights.values()
    if constant.dtype.name != _FLOAT:
        return f"its operand is {constant.dtype}"
    if constant.size == 1:
        return np.full(channels, constant.reshape(()), np.float64)
    rank = _rank(node.inputs[0])
    if rank is None:
        return "the shape of its input is not known"
    padded = (1,) * (rank - constant.ndim) + constant.shape
    if len(padded) != rank or rank < 2 or padded[1] != channels or constant.size != channels:
        return "its operand is no number for each channel"
    return constant.astype(np.float64).reshape(-1)


def _rank(value: Value) -> int | None:
    """How many axes a value has. What a convolution of open size gives has as many as its filters."""
    if value.shape is not None:
        return len(value.shape)
    filters = value.producer.weights.get("weight")
    convolution = value.producer.op in (f"{ONNX}.Conv", f"{ONNX}.ConvTranspose")
    return filters.ndim if convolution and filters is not None else None


def _constant_first(node: Node) -> bool:
    return isinstance(operands(node)[0], str)


def _add(node: Node, channels: int) -> Coefficients:
    found = _operand(node, channels)
    return found if isinstance(found, str) else (np.ones(channels), found)


def _sub(node: Node, channels: int) -> Coefficients:
    found = _operand(node, channels)
    if isinstance(found, str):
        return found
    return (-np.ones(channels), found) if _constant_first(node) else (np.ones(channels), -found)


def _mul(node: Node, channels: int) -> Coefficients:
    found = _operand(node, channels)
    return found if isinstance(found, str) else (found, np.zeros(channels))


def _div(node: Node, channels: int) -> Coefficients:
    found = _operand(node, channels)
    if isinstance(found, str):
        return found
    if _constant_first(node) or not found.all():
        return "it divides by its data" if _constant_first(node) else "it divides by 0"
    return 1 / found, np.zeros(channels)


def _affine(type: str, summary: str, coefficients: Callable[[Node, int], Coefficients]) -> OpDef:
    return replace(generic_row(f"{ONNX}.{type}"), summary=summary, affine=Affine(coefficients))


def _floats(node: Node) -> bool:
    return all(value.dtype == _FLOAT for value in node.inputs)


def _sum(node: Node) -> OpDef | None:
    """An Add of two values can be quantized, one of a value and a constant is a map of each channel."""
    return _ADD_OF_TWO if len(node.inputs) == 2 and _floats(node) else _ADD_OF_ONE


def _addend(node: Node) -> NDArray[np.generic] | None:
    return next(iter(node.weights.values())) if len(node.inputs) == len(node.weights) == 1 else None


_ADD_OF_ONE = replace(_affine("Add", "the sum of two values, or of a value and a constant", _add), addend=_addend)
_ADD_OF_TWO = replace(_ADD_OF_ONE, affine=None, quantizable=Quantizable(on_by_default=False))


def _data_alone(node: Node) -> bool:
    return len(node.inputs) == 1


def _activation(type: str, summary: str, *, homogeneous: bool = False) -> OpDef:
    row = replace(generic_row(f"{ONNX}.{type}"), summary=summary, activation=True)
    return replace(row, homogeneous=_data_alone) if homogeneous else row


def _clip_bound(node: Node) -> float | str:
    bounds = _clip_bounds(node)
    if bounds is None:
        return "its bounds are not constant"
    return bounds[1] if bounds[0] == 0 else f"it begins at {bounds[0]:g}, not at 0"


def _clip_becomes_relu(node: Node) -> None:
    node.op = f"{ONNX}.Relu"
    node.weights.clear()
    node.attrs = {name: value for name, value in node.attrs.items() if name not in (ABSENT, INITIALIZERS)}


def _clip_bounds(node: Node) -> tuple[float, float] | None:
    if len(node.inputs) != 1:
        return None
    low, high = node.weights.get("min"), node.weights.get("max")
    return -np.inf if low is None else float(low.item()), np.inf if high is None else float(high.item())


def _drops_nothing(node: Node) -> OpDef | None:
    """Dropout is the identity unless it is told to train, or somebody reads its mask."""
    training = node.weights.get("training_mode")
    trains = len(node.inputs) > 1 or (training is not None and bool(training.any()))
    return generic_row(node.op) if trains or len(node.outputs) > 1 else None


ELEMENTWISE_OPS: tuple[OpDef, ...] = (
    _affine("BatchNormalization", "y = (x - mean) / sqrt(variance + epsilon) * scale + bias", _batch_norm),
    replace(
        _ADD_OF_ONE,
        quantizable=_ADD_OF_TWO.quantizable,
        variant=_sum,
        notes="quantized on request where both operands are values",
    ),
    _affine("Sub", "the difference of two values, or of a value and a constant", _sub),
    _affine("Mul", "the product of two values, or of a value and a constant", _mul),
    _affine("Div", "the quotient of two values, or of a value and a constant", _div),
    replace(_activation("Relu", "max(0, x)", homogeneous=True), clamps=lambda node: (0.0, np.inf)),
    replace(
        _activation("Clip", "x between two bounds"),
        clamps=_clip_bounds,
        bounded=Bounded(_clip_bound, _clip_becomes_relu),
    ),
    _activation("LeakyRelu", "x, or alpha times x where x is negative", homogeneous=True),
    _activation("PRelu", "x, or slope times x where x is negative", homogeneous=True),
    _activation("Abs", "|x|", homogeneous=True),
    _activation("Sigmoid", "1 / (1 + exp(-x))"),
    _activation("Tanh", "tanh(x)"),
    _activation("Elu", "x, or alpha * (exp(x) - 1) where x is negative"),
    _activation("Selu", "a scaled Elu"),
    _activation("Celu", "a smooth Elu"),
    _activation("Gelu", "x times the normal distribution's probability below x"),
    _activation("Mish", "x * tanh(softplus(x))"),
    _activation("HardSigmoid", "alpha * x + beta between 0 and 1"),
    _activation("HardSwish", "x * HardSigmoid(x)"),
    _activation("Softplus", "log(1 + exp(x))"),
    _activation("Softsign", "x / (1 + |x|)"),
    _activation("ThresholdedRelu", "x where it is above alpha, else 0"),
    replace(generic_row(f"{ONNX}.Identity"), summary="the input itself", identity=True, homogeneous=_data_alone),
    replace(
        generic_row(f"{ONNX}.Dropout"),
        summary="the input itself, unless it is told to train",
        identity=True,
        homogeneous=_data_alone,
        variant=_drops_nothing,
    ),
)
