"""Conv, ConvTranspose, Gemm, MatMul, and normalizations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.op import Window
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable, need_shape
from amctc.targets.ge.from_onnx.reading import (
    FLOATS,
    axis_of,
    constant,
    data,
    finish,
    longs,
    number,
    one,
    operand,
    rank_of,
    read_elsewhere,
    whole,
)
from amctc.text.plain import Plain

_IMAGE, _LINE, _MATRIX = 2, 1, 2
"""How many axes a filter goes over; how many a matrix has."""
_WIDTH = 3
"""The axis that a line gets, so that it is an image."""


# -- convolutions ----------------------------------------------------------------------------------


def _conv(c: Crossing, node: Node) -> None:
    """Conv2D; one over one axis runs on images one element wide."""
    x = data(c, node)
    window = _window(node, need_shape(x))
    attributes = _attributes(window)
    if len(window.kernel) == _IMAGE:
        one(c, node, "Conv2D", [x, node.weights["weight"], node.weights.get("bias")], attributes)
    else:
        _over_a_line(c, node, "Conv2D", [x, node.weights["weight"], node.weights.get("bias")], attributes)


def _conv_transpose(c: Crossing, node: Node) -> None:
    """Conv2DTranspose, whose first input says no size of the output: it follows from the rest."""
    x = data(c, node)
    shape = need_shape(x)
    window = _window(node, shape)
    attributes = _attributes(window)
    out = node.output.shape
    if out is None:
        raise Unsayable("has data of an unknown shape")
    more = tuple(
        size - ((length - 1) * step + (k - 1) * d + 1 - sum(pads))
        for size, length, step, k, d, pads in zip(
            out[2:], shape[2:], window.stride, window.kernel, window.dilation, window.pads, strict=True
        )
    )
    if any(extra < 0 for extra in more):
        raise Unsayable("cuts more off its output than its padding")
    weights: list[Operand] = [x, node.weights["weight"], node.weights.get("bias")]
    if len(window.kernel) == _IMAGE:
        attributes["output_padding"] = (0, 0, *more)
        one(c, node, "Conv2DTranspose", [longs((0, 0, 0, 0)), *weights], attributes)
    else:
        attributes["output_padding"] = (0, 0, *more, 0)
        _over_a_line(c, node, "Conv2DTranspose", weights, attributes)


def _window(node: Node, shape: Shape) -> Window:
    trait = op_def(node).linear
    if trait is None or trait.window is None:
        raise Unsayable("has weights that are not constant, or data that are not float32")
    if node.output.shape is None:
        raise Unsayable("has data of an unknown shape")
    window = trait.window(node, shape)
    if len(window.kernel) > _IMAGE:
        raise Unsayable(f"goes over {len(window.kernel)} axes, and GE's op that is known here over two")
    if any(size < 0 for pair in window.pads for size in pair):
        raise Unsayable("has negative padding")
    return window


def _attributes(window: Window) -> dict[str, Plain]:
    """For one axis as for an image whose elements lie in its columns."""
    line = len(window.kernel) == _LINE
    (top, bottom), (left, right) = (*window.pads, (0, 0)) if line else window.pads
    return {
        "strides": (1, 1, *window.stride, *((1,) * line)),
        "dilations": (1, 1, *window.dilation, *((1,) * line)),
        "pads": (top, bottom, left, right),
        "groups": window.group,
        "data_format": "NCHW",
        "offset_x": 0,
    }


def _over_a_line(c: Crossing, node: Node, type: str, operands: list[Operand], attributes: Mapping[str, Plain]) -> None:
    """Unsqueeze, the op, Squeeze. Raises `Unsayable` for integers, which hardware has to find beside their scales."""
    x, weight, bias = operands
    if not isinstance(x, Value) or x.dtype not in FLOATS or not isinstance(weight, np.ndarray):
        raise Unsayable("goes over one axis, which GE's op does on images of floats only; skip it in the policy")
    image = c.op(node, "Unsqueeze", [x], {"axes": (_WIDTH,)}, part="image").output
    found: list[Operand] = [image, weight[..., np.newaxis], bias]
    first: list[Operand] = [longs((0, 0, 0, 0))] if type == "Conv2DTranspose" else []
    made = c.op(node, type, [*first, *found], attributes, part="on_image")
    finish(c, node, c.op(node, "Squeeze", [made.output], {"axis": (_WIDTH,)}).output)


# -- matrices --------------------------------------------------------------------------------------


def _gemm(c: Crossing, node: Node) -> None:
    """MatMulV2; a bias of other than one number for each column is added behind it."""
    x, weight, bias = data(c, node), operand(c, node, 1), operand(c, node, 2)
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    if weight is None:
        raise Unsayable("has no second factor")
    if whole(node, "transA", 0):
        x = c.op(node, "TransposeD", [x], {"perm": (1, 0)}, part="transposed").output
    transposed = bool(whole(node, "transB", 0))
    attributes: dict[str, Plain] = {"transpose_x1": False, "transpose_x2": transposed, "offset_x": 0}
    if alpha != 1:
        if not isinstance(weight, np.ndarray) or weight.dtype.name not in FLOATS:
            raise Unsayable("multiplies the product of two values by `alpha`")
        weight = _times(weight, alpha)
    if beta != 1 and isinstance(bias, Value):
        bias = c.op(node, "Mul", [bias, np.array(beta, bias.dtype)], part="beta").output
    elif beta != 1 and isinstance(bias, np.ndarray):
        bias = _times(bias, beta)
    columns = need_shape(weight)[0 if transposed else 1] if isinstance(weight, Value) else weight.shape[not transposed]
    inside = isinstance(weight, np.ndarray) and isinstance(bias, np.ndarray) and _fits(bias, columns)
    if bias is None or inside:
        added = np.broadcast_to(bias.reshape(-1), (columns,)).copy() if isinstance(bias, np.ndarray) else None
        one(c, node, "MatMulV2", [x, weight, added], attributes)
        return
    product = c.op(node, "MatMulV2", [x, weight], attributes, part="product").output
    one(c, node, "Add", [product, bias])


def _times(array: Array, factor: float) -> Array:
    return (array.astype(np.float64) * factor).astype(array.dtype)


def _fits(bias: Array, columns: int) -> bool:
    """Whether a bias has one number for each column, or one for all."""
    return bias.size == 1 or (bias.size == columns and bias.shape[-1] == columns)


def _matmul(c: Crossing, node: Node) -> None:
    """BatchMatMulV2, with the bias that a pass may have taken in."""
    first, second = operand(c, node, 0), operand(c, node, 1)
    if min(_rank(first), _rank(second)) < _MATRIX:
        raise Unsayable("multiplies with a vector, and GE's product takes matrices")
    attributes: dict[str, Plain] = {"adj_x1": False, "adj_x2": False, "offset_x": 0}
    one(c, node, "BatchMatMulV2", [first, second, node.weights.get("bias")], attributes)


def _rank(operand: Operand) -> int:
    if operand is None:
        raise Unsayable("lacks a factor")
    return rank_of(operand) if isinstance(operand, Value) else operand.ndim


# -- normalizations --------------------------------------------------------------------------------


def _batch_norm(c: Crossing, node: Node) -> None:
    """BNInfer, GE's own op for it at inference: with one output, where BatchNorm has six."""
    if whole(node, "training_mode", 0) or read_elsewhere(c, node):
        raise Unsayable("takes the statistics of the batch")
    names = ("scale", "bias", "mean", "variance")
    found = [_numbers(c, node, index, name) for index, name in enumerate(names, start=1)]
    one(c, node, "BNInfer", [data(c, node), *found], {"epsilon": number(node, "epsilon", 1e-5)})


def _numbers(c: Crossing, node: Node, index: int, what: str) -> Array:
    found = constant(c, node, index, what)
    if found is None or found.dtype != np.float32:
        raise Unsayable(f"has no {what} of float32")
    return found


def _instance_norm(c: Crossing, node: Node) -> None:
    gamma, beta = _numbers(c, node, 1, "scale"), _numbers(c, node, 2, "bias")
    attributes: dict[str, Plain] = {"data_format": "NCHW", "epsilon": number(node, "epsilon", 1e-5)}
    made = c.op(node, "InstanceNorm", [data(c, node), gamma, beta], attributes, outputs=3)
    finish(c, node, made.outputs[0])


def _layer_norm(c: Crossing, node: Node) -> None:
    """LayerNorm, whose parameters begin where the mean does."""
    x, gamma = data(c, node), _numbers(c, node, 1, "scale")
    shape = need_shape(x)
    axis = axis_of(whole(node, "axis", -1), len(shape))
    if read_elsewhere(c, node):
        raise Unsayable("gives its mean or its deviation")
    bias = constant(c, node, 2, "bias")
    beta = np.zeros_like(gamma) if bias is None else bias
    if gamma.shape != shape[axis:] or beta.shape != gamma.shape:
        raise Unsayable(f"has a scale of {list(gamma.shape)}, where {list(shape[axis:])} is expected")
    attributes: dict[str, Plain] = {
        "begin_norm_axis": axis,
        "begin_params_axis": axis,
        "epsilon": number(node, "epsilon", 1e-5),
    }
    made = c.op(node, "LayerNorm", [x, gamma, beta], attributes, outputs=3)
    finish(c, node, made.outputs[0])


def _lrn(c: Crossing, node: Node) -> None:
    """GE's alpha is for one element, and its radius half of an odd size."""
    size = whole(node, "size", 1)
    if not size % 2:
        raise Unsayable("goes over an even number of channels")
    attributes: dict[str, Plain] = {
        "depth_radius": (size - 1) // 2,
        "alpha": number(node, "alpha", 1e-4) / size,
        "beta": number(node, "beta", 0.75),
        "bias": number(node, "bias", 1.0),
        "norm_region": "ACROSS_CHANNELS",
    }
    one(c, node, "LRN", [data(c, node)], attributes)


LINEAR: Mapping[str, Rule] = MappingProxyType(
    {
        "onnx.Conv": _conv,
        "onnx.ConvTranspose": _conv_transpose,
        "onnx.Gemm": _gemm,
        "onnx.MatMul": _matmul,
        "onnx.BatchNormalization": _batch_norm,
        "onnx.InstanceNormalization": _instance_norm,
        "onnx.LayerNormalization": _layer_norm,
        "onnx.LRN": _lrn,
    }
)
