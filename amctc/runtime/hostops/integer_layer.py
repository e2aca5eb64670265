"""Integer layers beyond ONNX's: 16-bit data, Deconvolution, sums that may leave int32."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.convolution import conv_geometry
from amctc.dialects.caffe.inner_product import PARAMETER as INNER_PRODUCT
from amctc.dialects.caffe.inner_product import flat_sizes
from amctc.dialects.caffe.params import params
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape
from amctc.runtime.exact import convolve, convolve_transposed
from amctc.runtime.hostops.host_op import Arrays, HostOp
from amctc.runtime.lowering.integer import INT32_MAX, integer_layer, largest_sum
from amctc.runtime.lowering.windows import folded_shape


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


INTEGER_LAYER = HostOp("exact integer layer", _is_integer_layer, _run_integer_layer)
