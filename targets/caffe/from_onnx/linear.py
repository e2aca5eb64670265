"""Conv, ConvTranspose, Gemm, MatMul and BatchNormalization."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.op import Window
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Array
from amctc.targets.caffe.from_onnx.builder import (
    Crossing,
    Rule,
    Unsayable,
    floats,
    need_shape,
    number,
    per_axis,
    whole,
)
from amctc.text.plain import Plain


def cross_conv(c: Crossing, node: Node) -> None:
    """Convolution; padding that differs before and behind an axis is a Pad layer in front of it."""
    window = _window(c, node)
    source, pad = c.data(node), tuple(before for before, _ in window.pads)
    if any(before != behind for before, behind in window.pads):
        source, pad = _padded(c, node, source, window), (0,) * len(pad)
    _convolution(c, node, "Convolution", source, window, pad)


def cross_conv_transpose(c: Crossing, node: Node) -> None:
    """Deconvolution."""
    window = _window(c, node)
    if any(before != behind for before, behind in window.pads):
        raise Unsayable("cuts off other sizes before than behind an axis, or has `output_padding`")
    if any(before < 0 for before, _ in window.pads):
        raise Unsayable("has negative padding")
    _convolution(c, node, "Deconvolution", c.data(node), window, tuple(before for before, _ in window.pads))


def _window(c: Crossing, node: Node) -> Window:
    trait = op_def(node).linear
    if trait is None or trait.window is None:
        raise Unsayable("has weights that are not constant, or data that are not float32")
    shape = need_shape(c.data(node))
    if c.wanted_shape(node) is None:
        raise Unsayable("has data of an unknown shape")
    return trait.window(node, shape)


def _convolution(c: Crossing, node: Node, type: str, source: Value, window: Window, pad: tuple[int, ...]) -> None:
    weights: dict[str, Array] = {role: node.weights[role] for role in ("weight", "bias") if role in node.weights}
    parameters: dict[str, Plain] = {"num_output": window.outputs}
    if "bias" not in weights:
        parameters["bias_term"] = False
    if any(pad):
        parameters["pad"] = per_axis(pad)
    parameters["kernel_size"] = per_axis(window.kernel)
    if window.group != 1:
        parameters["group"] = window.group
    if set(window.stride) != {1}:
        parameters["stride"] = per_axis(window.stride)
    if set(window.dilation) != {1}:
        parameters["dilation"] = per_axis(window.dilation)
    c.finish(node, c.layer(node, type, [source], parameters, weights=weights).output)


def _padded(c: Crossing, node: Node, source: Value, window: Window) -> Value:
    """Zeros around an image; around integers they go where these are still floats."""
    if len(window.pads) != 2:
        raise Unsayable("is padded otherwise before than behind an axis, which Caffe's Pad can for images only")
    (up, down), (left, right) = window.pads
    if min(up, down, left, right) < 0:
        raise Unsayable("has negative padding")
    pads: dict[str, Plain] = {"pad_u": up, "pad_d": down, "pad_l": left, "pad_r": right}
    quantize = source.producer
    if quantize.op != "quant.Quantize":
        return c.map(node, "Pad", source, pads, part="pad")
    padded = c.map(node, "Pad", quantize.inputs[0], pads, part="pad")
    # What has no reader left is taken out at the end.
    return c.copy(quantize, [padded], c.free_name(f"{node.name}_pad_quant")).output


def cross_gemm(c: Crossing, node: Node) -> None:
    """InnerProduct; of two values the layer Gemm."""
    data, weight = c.operand(node, 0), c.operand(node, 1)
    if isinstance(data, Value) and isinstance(weight, np.ndarray) and not whole(node, "transA", 0):
        _inner_product(c, node, data, weight if whole(node, "transB", 0) else weight.T, c.constant(node, 2, "bias"))
        return
    third = c.operand(node, 2)
    inputs = [c.data(node, 0), c.data(node, 1)] + ([] if third is None else [c.data(node, 2)])
    parameters: dict[str, Plain] = {
        "alpha": number(node, "alpha", 1.0),
        "beta": number(node, "beta", 1.0),
        "transpose_a": bool(whole(node, "transA", 0)),
        "transpose_b": bool(whole(node, "transB", 0)),
    }
    c.finish(node, c.layer(node, "Gemm", inputs, parameters).output)


def cross_matmul(c: Crossing, node: Node) -> None:
    """InnerProduct along the last axis; of two values the layer MatMul."""
    data, weight = c.operand(node, 0), c.operand(node, 1)
    if isinstance(data, Value) and isinstance(weight, np.ndarray) and weight.ndim == 2:
        _inner_product(c, node, data, weight.T, node.weights.get("bias"))
        return
    first, second = c.data(node, 0), c.data(node, 1)
    if len(need_shape(first)) != len(need_shape(second)):
        raise Unsayable("has factors of different numbers of axes")
    c.finish(node, c.layer(node, "MatMul", [first, second]).output)


def _inner_product(c: Crossing, node: Node, data: Value, rows: Array, bias: Array | None) -> None:
    """`rows` are the weights as [outputs, inputs]."""
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    weight = np.ascontiguousarray(rows)
    if weight.dtype == np.float32 and alpha != 1:
        weight = (floats(weight) * np.float32(alpha)).astype(np.float32)
    elif weight.dtype.name not in ("float32", "int8"):
        raise Unsayable(f"has weights of {weight.dtype}")
    weights: dict[str, Array] = {"weight": weight}
    count = len(weight)
    if bias is not None:
        if bias.size not in (1, count) or (bias.size == count and bias.ndim and bias.shape[-1] != count):
            raise Unsayable(f"adds a matrix of {list(bias.shape)}, where InnerProduct adds one number for each output")
        whole_bias = np.broadcast_to(bias.reshape(-1), (count,))
        weights["bias"] = whole_bias.copy() if beta == 1 else (floats(whole_bias) * np.float32(beta)).astype(np.float32)
    parameters: dict[str, Plain] = {"num_output": count}
    if bias is None:
        parameters["bias_term"] = False
    rank = len(need_shape(data))
    if rank != 2:
        parameters["axis"] = rank - 1
    c.finish(node, c.layer(node, "InnerProduct", [data], parameters, weights=weights).output)


def cross_batch_norm(c: Crossing, node: Node) -> None:
    """BatchNorm, and a Scale behind it."""
    if whole(node, "training_mode", 0) or len(node.outputs) > 1:
        raise Unsayable("takes the statistics of the batch")
    found: list[Array] = []
    for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1):
        array = c.constant(node, index, what)
        if array is None:
            raise Unsayable(f"has no {what}")
        found.append(floats(array))
    scale, bias, mean, variance = found
    statistics = {"mean": mean, "variance": variance, "factor": np.ones(1, np.float32)}
    eps: dict[str, Plain] = {"eps": number(node, "epsilon", 1e-5)}
    normal = c.map(node, "BatchNorm", c.data(node), eps, weights=statistics)
    weights = {"scale": scale, "bias": bias}
    c.finish(node, c.map(node, "Scale", normal, {"bias_term": True}, weights=weights, part="scale"))


def cross_lrn(c: Crossing, node: Node) -> None:
    """LRN across channels."""
    parameters: dict[str, Plain] = {
        "local_size": whole(node, "size", 1),
        "alpha": number(node, "alpha", 1e-4),
        "beta": number(node, "beta", 0.75),
        "k": number(node, "bias", 1.0),
    }
    c.finish(node, c.map(node, "LRN", c.data(node), parameters))


def cross_instance_norm(c: Crossing, node: Node) -> None:
    """GroupNorm with a group for each channel."""
    scale, bias = c.constant(node, 1, "scale"), c.constant(node, 2, "bias")
    if scale is None or bias is None:
        raise Unsayable("has no scale or bias")
    parameters: dict[str, Plain] = {"group_num": scale.size, "eps": number(node, "epsilon", 1e-5)}
    weights = {"scale": floats(scale), "shift": floats(bias)}
    c.finish(node, c.map(node, "GroupNorm", c.data(node), parameters, weights=weights))


def cross_layer_norm(c: Crossing, node: Node) -> None:
    """LayerNormalization."""
    scale, bias = c.constant(node, 1, "scale"), c.constant(node, 2, "bias")
    data = c.data(node)
    if scale is None or len(node.outputs) > 1:
        raise Unsayable("has no scale, or gives its statistics")
    weights = {"scale": floats(scale), "shift": np.zeros_like(floats(scale)) if bias is None else floats(bias)}
    parameters: dict[str, Plain] = {"axis": whole(node, "axis", -1), "eps": number(node, "epsilon", 1e-5)}
    c.finish(node, c.map(node, "LayerNormalization", data, parameters, weights=weights))


LINEAR: Mapping[str, Rule] = MappingProxyType(
    {
        "Conv": cross_conv,
        "ConvTranspose": cross_conv_transpose,
        "Gemm": cross_gemm,
        "MatMul": cross_matmul,
        "BatchNormalization": cross_batch_norm,
        "LRN": cross_lrn,
        "InstanceNormalization": cross_instance_norm,
        "LayerNormalization": cross_layer_norm,
    }
)
