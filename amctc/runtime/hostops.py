"""Host ops: what ONNX Runtime cannot do, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.convolution import conv_geometry
from amctc.dialects.caffe.inner_product import PARAMETER as INNER_PRODUCT
from amctc.dialects.caffe.inner_product import flat_sizes
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.pooling import pool_geometry
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.graph import Array, Shape
from amctc.runtime.exact import convolve, convolve_transposed
from amctc.runtime.lowering.integer import INT32_MAX, integer_layer, largest_sum
from amctc.runtime.lowering.pooling import FLT_MAX, end_padding
from amctc.runtime.lowering.windows import folded_shape

Arrays: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class HostOp:
    """An op, or a case of one, that Python runs.

    `applies(node, dtypes)` says whether it takes a node over; `dtypes` has the element type of every
    value. `run(node, inputs, shapes)` computes the outputs, whose shapes are given.
    """

    name: str
    applies: Callable[[Node, Mapping[Value, str]], bool]
    run: Callable[[Node, Arrays, tuple[Shape, ...]], Arrays]


def for_op(op: str, run: Callable[[Node, Arrays, tuple[Shape, ...]], Arrays]) -> HostOp:
    """A host op that takes over every node of one op, such as a custom layer's `caffe.MyLayer`."""
    return HostOp(op, lambda node, dtypes: node.op == op, run)


def _is_integer_layer(node: Node, dtypes: Mapping[Value, str]) -> bool:
    """Integer layers beyond ONNX's: 16-bit data, Deconvolution, sums that may leave int32."""
    if op_def(node).linear is None:
        return False
    dtype = dtypes[node.inputs[0]]
    if not dtype.startswith("int"):
        return False
    return dtype != "int8" or node.op == "caffe.Deconvolution" or largest_sum(node) > INT32_MAX


def _run_integer_layer(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    layer = integer_layer(node)
    weight = layer.weight.astype(np.float64)
    found: list[Array] = []
    for x, shape in zip(inputs, shapes, strict=True):
        centred = x.astype(np.float64) - layer.offset
        if node.op == "caffe.InnerProduct":
            _, rows, inner = flat_sizes(node, x.shape)
            matrix = weight if params(node, INNER_PRODUCT).transpose else weight.T
            sums = centred.reshape(rows, inner) @ matrix
        else:
            sums = _convolve(node, centred, weight, shape)
        if layer.bias is not None:
            sums = sums + layer.bias.reshape((1, -1) + (1,) * (sums.ndim - 2))
        found.append(_to_int32(node, sums).reshape(shape))
    return tuple(found)


def _convolve(node: Node, x: NDArray[np.float64], weight: NDArray[np.float64], shape: Shape) -> NDArray[np.float64]:
    geometry = conv_geometry(node, x.shape)
    folded = x.reshape(folded_shape(x.shape, geometry.axis))
    run = convolve_transposed if node.op == "caffe.Deconvolution" else convolve
    return run(folded, weight, geometry, shape[geometry.axis + 1 :])


def _to_int32(node: Node, sums: NDArray[np.float64]) -> NDArray[np.int32]:
    largest = float(np.abs(sums).max(initial=0))
    if largest > INT32_MAX:
        message = f"a sum of {largest:.0f} does not fit into 32 bits, which the hardware adds in"
        help = "quantize this layer's data in fewer bits, or skip the layer"
        raise DiagnosticError(node_error("AM430", node, message, help))
    return sums.astype(np.int32)


def _is_masked_pooling(node: Node, dtypes: Mapping[Value, str]) -> bool:
    return node.op == "caffe.Pooling" and len(node.outputs) > 1


def _run_masked_pooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """MAX pooling and, as float32, where in the channel's image each maximum is (the first of equals; -1: none)."""
    x = inputs[0].astype(np.float32, copy=False)
    g = pool_geometry(node, x.shape)
    pads = tuple(zip(g.pad, end_padding(g), strict=True))
    padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=-FLT_MAX)
    image = np.pad(np.arange(g.size[0] * g.size[1]).reshape(g.size), pads, constant_values=-1)
    windows = _flat_windows(padded, g.kernel, g.stride, g.out)
    places = _flat_windows(image, g.kernel, g.stride, g.out)
    best = windows.argmax(axis=-1)[..., None]
    top = np.take_along_axis(windows, best, axis=-1)[..., 0]
    mask = np.take_along_axis(np.broadcast_to(places, windows.shape), best, axis=-1)[..., 0]
    mask = np.where(top > -FLT_MAX, mask, -1)
    return top, mask.astype(np.float32)


def _flat_windows(
    image: NDArray[Any], kernel: tuple[int, int], stride: tuple[int, int], out: tuple[int, int]
) -> NDArray[Any]:
    """[..., H, W] as [..., out_h, out_w, kernel_h * kernel_w]."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(-2, -1))
    chosen = windows[..., : (out[0] - 1) * stride[0] + 1 : stride[0], : (out[1] - 1) * stride[1] + 1 : stride[1], :, :]
    return chosen.reshape(*chosen.shape[:-2], -1)


HOST_OPS: tuple[HostOp, ...] = (
    HostOp("exact integer layer", _is_integer_layer, _run_integer_layer),
    HostOp("max pooling with a mask", _is_masked_pooling, _run_masked_pooling),
)
"""The built-in host ops; the first that applies to a node takes it over."""
