"""Integer layers beyond ONNX's: 16-bit data, transposed convolutions, sums that may leave int32."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.op import Linear
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape
from amctc.runtime.exact import convolve, convolve_transposed
from amctc.runtime.hostops.host_op import Arrays, HostOp
from amctc.runtime.lowering.integer import INT32_MAX, integer_layer, largest_sum
from amctc.runtime.lowering.windows import folded_shape


def _is_integer_layer(node: Node, dtypes: Mapping[Value, str]) -> bool:
    """Integer layers beyond ONNX's: 16-bit data, transposed convolutions, sums that may leave int32."""
    trait = op_def(node).linear
    if trait is None or op_def(node).likeness is not None:
        return False
    dtype = dtypes[node.inputs[0]]
    if not dtype.startswith("int"):
        return False
    return dtype != "int8" or trait.transposed or largest_sum(node) > INT32_MAX


def _run_integer_layer(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    layer, trait = integer_layer(node), linear_trait(node)
    weight = layer.weight.astype(np.float64)
    found: list[Array] = []
    for x, shape in zip(inputs, shapes, strict=True):
        centred = x.astype(np.float64) - layer.offset
        if trait.window is None:
            rows = trait.by_output_channel(node, weight).astype(np.float64, copy=False)
            sums = centred.reshape(-1, rows.shape[1]) @ rows.T
        else:
            sums = _convolve(node, trait, centred, weight, shape)
        if layer.bias is not None:
            sums = sums + layer.bias.reshape((1, -1) + (1,) * (sums.ndim - 2))
        found.append(_to_int32(node, sums).reshape(shape))
    return tuple(found)


def _convolve(
    node: Node, trait: Linear, x: NDArray[np.float64], weight: NDArray[np.float64], shape: Shape
) -> NDArray[np.float64]:
    if trait.window is None:
        raise ValueError(f"{node.op} has no windows")
    window = trait.window(node, x.shape)
    folded = x.reshape(folded_shape(x.shape, window.axis))
    run = convolve_transposed if trait.transposed else convolve
    return run(folded, weight, window, shape[window.axis + 1 :])


def _to_int32(node: Node, sums: NDArray[np.float64]) -> NDArray[np.int32]:
    largest = float(np.abs(sums).max(initial=0))
    if largest > INT32_MAX:
        message = f"a sum of {largest:.0f} does not fit into 32 bits, which the hardware adds in"
        help = "quantize this layer's data in fewer bits, or skip the layer"
        raise DiagnosticError(node_error("AM430", node, message, help))
    return sums.astype(np.int32)


INTEGER_LAYER = HostOp("exact integer layer", _is_integer_layer, _run_integer_layer)
