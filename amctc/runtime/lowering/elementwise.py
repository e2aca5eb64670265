"""Functions of each element, Eltwise, and ops that only move or rename."""

from __future__ import annotations

import numpy as np

from amctc.dialects.caffe.combine import MAX, PROD, concat_axis
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, weight_of


def lower_relu(low: Lowering, node: Node) -> None:
    """Relu, or LeakyRelu with a slope."""
    slope = float(params(node, "relu_param").negative_slope)
    if slope == 0:
        low.emit("Relu", low.inputs(node), low.name(node.output))
    else:
        low.emit("LeakyRelu", low.inputs(node), low.name(node.output), alpha=slope)


def lower_prelu(low: Lowering, node: Node) -> None:
    """PRelu with the slopes along axis 1."""
    slope = weight_of(node, "slope").astype(np.float32, copy=False)
    rank = len(low.shape(node.inputs[0]))
    spread = slope.reshape((-1,) + (1,) * (rank - 2))
    low.emit("PRelu", [*low.inputs(node), low.constant(spread, f"{node.name}.slope")], low.name(node.output))


def lower_sigmoid(low: Lowering, node: Node) -> None:
    """Sigmoid."""
    low.emit("Sigmoid", low.inputs(node), low.name(node.output))


def lower_tanh(low: Lowering, node: Node) -> None:
    """Tanh."""
    low.emit("Tanh", low.inputs(node), low.name(node.output))


def lower_absval(low: Lowering, node: Node) -> None:
    """Abs."""
    low.emit("Abs", low.inputs(node), low.name(node.output))


def lower_power(low: Lowering, node: Node) -> None:
    """Mul, Add and Pow, each only where it does something; a constant where x plays no part."""
    param = params(node, "power_param")
    power, scale, shift = float(param.power), float(param.scale), float(param.shift)
    output = low.name(node.output)
    if power == 0 or scale == 0:
        with np.errstate(all="ignore"):
            constant = np.float32(1) if power == 0 else np.power(np.float32(shift), np.float32(power))
        filled = np.full(low.shape(node.inputs[0]), constant, np.float32)
        low.emit("Identity", [low.constant(filled, f"{node.name}.constant")], output)
        return
    steps = [("Mul", scale)] * (scale != 1) + [("Add", shift)] * (shift != 0) + [("Pow", power)] * (power != 1)
    current = low.name(node.inputs[0])
    for op_type, operand in steps[:-1]:
        current = low.emit(op_type, [current, low.scalar(operand, f"{node.name}.{op_type.lower()}")])
    if not steps:
        low.emit("Identity", [current], output)
        return
    op_type, operand = steps[-1]
    low.emit(op_type, [current, low.scalar(operand, f"{node.name}.{op_type.lower()}")], output)


def lower_eltwise(low: Lowering, node: Node) -> None:
    """A chain of Mul, Max or weighted Add, in the order of the inputs.

    In place Caffe sets the top to 0 (SUM) or -FLT_MAX (MAX) before it reads an input of the same
    blob, and reads what it has written so far from a later one; both are kept.
    """
    param = params(node, "eltwise_param")
    shared = [value.blob == node.output.blob for value in node.inputs]
    if param.operation == PROD:
        result = _product(low, node, shared)
    elif param.operation == MAX:
        result = _maximum(low, node, shared)
    else:
        result = _weighted_sum(low, node, shared, tuple(param.coeff) or (1.0,) * len(shared))
    low.emit("Identity", [result], low.name(node.output))


def _product(low: Lowering, node: Node, shared: list[bool]) -> str:
    first, second, *rest = low.inputs(node)
    current = low.emit("Mul", [first, second])
    for name, written in zip(rest, shared[2:], strict=True):
        current = low.emit("Mul", [current, current if written else name])
    return current


def _maximum(low: Lowering, node: Node, shared: list[bool]) -> str:
    # An input that is the top counts for nothing: it holds -FLT_MAX, or later what the top has.
    names = [name for name, written in zip(low.inputs(node), shared, strict=True) if not written]
    if not names:
        lowest = np.full(low.shape(node.output), np.finfo(np.float32).min, np.float32)
        return low.constant(lowest, f"{node.name}.lowest")
    return low.emit("Max", names) if len(names) > 1 else names[0]


def _weighted_sum(low: Lowering, node: Node, shared: list[bool], factors: tuple[float, ...]) -> str:
    current: str | None = None
    for name, written, factor in zip(low.inputs(node), shared, factors, strict=True):
        operand = current if written else name
        if operand is None:
            continue
        term = operand
        if factor != 1:
            term = low.emit("Mul", [operand, low.scalar(factor, f"{node.name}.coeff")])
        current = term if current is None else low.emit("Add", [current, term])
    if current is not None:
        return current
    return low.constant(np.zeros(low.shape(node.output), np.float32), f"{node.name}.zero")


def lower_concat(low: Lowering, node: Node) -> None:
    """Concat."""
    axis = concat_axis(node, len(low.shape(node.inputs[0])))
    low.emit("Concat", low.inputs(node), low.name(node.output), axis=axis)


def lower_softmax(low: Lowering, node: Node) -> None:
    """Softmax along one axis."""
    rank = len(low.shape(node.inputs[0]))
    low.emit("Softmax", low.inputs(node), low.name(node.output), axis=params(node, "softmax_param").axis % rank)


def lower_lrn(low: Lowering, node: Node) -> None:
    """x * (k + alpha * mean of x squared over the window) ** -beta; within a channel `k` is 1."""
    param = params(node, "lrn_param")
    source, output, size = low.name(node.inputs[0]), low.name(node.output), int(param.local_size)
    shape, across = low.shape(node.output), param.norm_region == 0
    alpha, beta, k = float(param.alpha), float(param.beta), float(param.k) if across else 1.0
    if across:
        # A window over all channels on both sides is as good as a longer one, and costs no memory.
        widest = max(1, 2 * shape[1] - 1)
        if size > widest:
            size, alpha = widest, alpha * widest / size
        if alpha > 0 and beta > 0:  # ONNX Runtime takes no others
            low.emit("LRN", [source], output, size=size, alpha=alpha, beta=beta, bias=k)
            return
    half = (size - 1) // 2
    squares = low.emit("Mul", [source, source])
    if across:
        squares = low.reshape(squares, (shape[0], 1, shape[1], shape[2] * shape[3]))
    kernel, pads = ((size, 1), (half, 0) * 2) if across else ((size, size), (half,) * 4)
    mean = low.emit("AveragePool", [squares], kernel_shape=kernel, pads=pads, count_include_pad=1, strides=(1, 1))
    if across:
        mean = low.reshape(mean, shape)
    scaled = low.emit("Mul", [mean, low.scalar(alpha, f"{node.name}.alpha")])
    base = low.emit("Add", [scaled, low.scalar(k, f"{node.name}.k")])
    factor = low.emit("Pow", [base, low.scalar(-beta, f"{node.name}.beta")])
    low.emit("Mul", [source, factor], output)


def lower_reshape(low: Lowering, node: Node) -> None:
    """Reshape to the inferred shape."""
    low.reshape(low.name(node.inputs[0]), low.shape(node.output), low.name(node.output))


def lower_identity(low: Lowering, node: Node) -> None:
    """Identity for every output."""
    for value in node.outputs:
        low.emit("Identity", low.inputs(node), low.name(value))
