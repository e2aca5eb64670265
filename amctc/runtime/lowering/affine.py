"""BatchNorm, Scale and Bias."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.affine import broadcast_axis
from amctc.dialects.caffe.batch_norm import statistics, uses_batch_statistics
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.lowering.builder import Lowering, weight_of


def lower_batch_norm(low: Lowering, node: Node) -> None:
    """(x - mean) * (1 / sqrt(variance + eps)): in this order, since a*x + b would lose digits to a large mean."""
    if uses_batch_statistics(node):
        _normalize_by_batch(low, node)
        return
    for role in ("mean", "variance", "factor"):
        weight_of(node, role)
    found = statistics(node)
    if isinstance(found, str):
        raise ValueError(found)
    shape = _channel_shape(len(low.shape(node.inputs[0])))
    mean = low.constant(found.mean.astype(np.float32).reshape(shape), f"{node.name}.mean")
    factor = low.constant(found.inverse_deviation.astype(np.float32).reshape(shape), f"{node.name}.inverse_deviation")
    centred = low.emit("Sub", [low.name(node.inputs[0]), mean])
    low.emit("Mul", [centred, factor], low.name(node.output))


def _normalize_by_batch(low: Lowering, node: Node) -> None:
    source = low.name(node.inputs[0])
    axes = tuple(axis for axis in range(len(low.shape(node.inputs[0]))) if axis != 1)
    mean = low.emit("ReduceMean", [source], axes=axes, keepdims=1)
    centred = low.emit("Sub", [source, mean])
    squares = low.emit("Mul", [centred, centred])
    variance = low.emit("ReduceMean", [squares], axes=axes, keepdims=1)
    eps = low.scalar(params(node, "batch_norm_param").eps, f"{node.name}.eps")
    deviation = low.emit("Sqrt", [low.emit("Add", [variance, eps])])
    low.emit("Div", [centred, deviation], low.name(node.output))


def _channel_shape(rank: int) -> Shape:
    return (1, -1) + (1,) * (rank - 2)


def lower_scale(low: Lowering, node: Node) -> None:
    """Mul, and Add for the bias."""
    bias_term = bool(params(node, "scale_param").bias_term)
    output = low.name(node.output)
    factor = _operand(low, node, "scale_param", "scale")
    product = low.emit("Mul", [low.name(node.inputs[0]), factor], None if bias_term else output)
    if bias_term:
        low.emit("Add", [product, _own(low, node, "scale_param", "bias")], output)


def lower_bias(low: Lowering, node: Node) -> None:
    """Add."""
    low.emit("Add", [low.name(node.inputs[0]), _operand(low, node, "bias_param", "bias")], low.name(node.output))


def _operand(low: Lowering, node: Node, field: str, role: str) -> str:
    """The factor of a Scale or Bias, from its second input or its own blob, ready to be broadcast."""
    if len(node.inputs) == 1:
        return _own(low, node, field, role)
    return low.reshape(low.name(node.inputs[1]), _broadcast_shape(low, node, field))


def _own(low: Lowering, node: Node, field: str, role: str) -> str:
    array: NDArray[np.float32] = weight_of(node, role).astype(np.float32, copy=False)
    return low.constant(array.reshape(_broadcast_shape(low, node, field)), f"{node.name}.{role}")


def _broadcast_shape(low: Lowering, node: Node, field: str) -> Shape:
    shape = low.shape(node.inputs[0])
    second = low.shape(node.inputs[1]) if len(node.inputs) > 1 else None
    axis, factor = broadcast_axis(node, field, shape, second)
    return (1,) * axis + factor + (1,) * (len(shape) - axis - len(factor))
