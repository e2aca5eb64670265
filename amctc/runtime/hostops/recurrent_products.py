"""The inner products of recurrent layers: in float32, or in exact integers with a deq_scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.op import InnerProduct
from amctc.dialects.recurrent_grids import OperandGrid
from amctc.dialects.shapes import node_error
from amctc.dialects.traits import grids_inside, inner_products, product_bias, quantizes_inside, weight_rows
from amctc.ir import Node
from amctc.quant.grid import grid_limits
from amctc.runtime.lowering.builder import weight_of
from amctc.runtime.lowering.integer import INT32_MAX
from amctc.runtime.lowering.weights import dequantized_weight

Floats: TypeAlias = NDArray[np.float32]
Multiply: TypeAlias = Callable[[Floats], Floats]
"""[M, K] to [M, Cout], the bias included."""

_EXACT_IN_FLOAT32 = 2**24
_ONE = np.float32(1)
_ALL = slice(None)


def product_of(node: Node, weight: str, rows: slice = _ALL) -> Multiply:
    """The product of a recurrent layer that has this weight, or only some of its output channels.

    In a layer that computes on integers it quantizes what it is given, sums integers and multiplies by the deq_scale.
    Raises `DiagnosticError`: AM420 missing weights, AM431 weights that should be integers and are not,
    AM432 integer weights of unknown scale; the product itself AM430 for a sum beyond 32 bits.
    """
    products = inner_products(node)
    position = next(i for i, product in enumerate(products) if product.weight == weight)
    if not quantizes_inside(node):
        return _float_product(node, products[position], rows)
    grids = grids_inside(node)
    product = products[position]
    return _integer_product(node, product, rows, grids.operands[product.operand], grids.deq_scales[position])


def _float_product(node: Node, product: InnerProduct, rows: slice) -> Multiply:
    floats = weight_rows(node, dequantized_weight(node, product.weight))
    matrix = np.ascontiguousarray(floats[rows].T, np.float32)
    if product.bias is None:
        return lambda x: x @ matrix
    bias: Floats = _bias(node, product, product.bias)[rows].astype(np.float32, copy=False)
    return lambda x: x @ matrix + bias


def _integer_product(node: Node, product: InnerProduct, rows: slice, grid: OperandGrid, deq_scales: Floats) -> Multiply:
    stored = weight_rows(node, weight_of(node, product.weight))
    weight = _integers(node, product.weight, stored, np.iinfo(np.int8))[rows]
    bias = np.zeros(len(weight))
    if product.bias is not None:
        bias = _integers(node, product.bias, _bias(node, product, product.bias), np.iinfo(np.int32))[rows]
    deq_scale = deq_scales if deq_scales.size == 1 else deq_scales[rows]
    low, high = grid_limits(grid.bits)
    # Clipping before the offset is added gives q - offset at once.
    least, most = np.float32(low - grid.offset), np.float32(high - grid.offset)
    reach = max(-float(least), float(most))
    largest = float((np.abs(weight).sum(axis=1) * reach + np.abs(bias)).max(initial=0))
    # Sums of integers are exact in float32 while none leaves 24 bits, and float32 is twice as fast.
    dtype = np.dtype(np.float32 if largest < _EXACT_IN_FLOAT32 else np.float64)
    matrix, addend = np.ascontiguousarray(weight.T, dtype), bias.astype(dtype)

    def multiply(x: Floats) -> Floats:
        centred = np.clip(np.rint(x * grid.factor), least, most)
        sums = centred.astype(dtype, copy=False) @ matrix + addend
        if largest > INT32_MAX:
            _check_int32(node, sums)
        return np.asarray(sums.astype(np.float32, copy=False) * deq_scale, np.float32)

    return multiply


def _bias(node: Node, product: InnerProduct, role: str) -> NDArray[Any]:
    found = product_bias(node, product)
    return weight_of(node, role) if found is None else found


def _integers(node: Node, role: str, stored: NDArray[Any], kind: np.iinfo[Any]) -> NDArray[np.float64]:
    """A weight that holds integers, as they are in a deploy model, or in float32, as in a fake-quant one."""
    values = stored.astype(np.float64)
    right = stored.dtype == kind.dtype or stored.dtype.kind == "f"
    if not right or not bool(((np.rint(values) == values) & (values >= kind.min) & (values <= kind.max)).all()):
        message = f"computes on integers, but its {role} ({stored.dtype}) does not hold {kind.dtype} numbers"
        raise DiagnosticError(node_error("AM431", node, message))
    return values


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) in float32; the caller expects overflow."""
    return np.asarray(_ONE / (_ONE + np.exp(-x)), np.float32)


def _check_int32(node: Node, sums: NDArray[np.floating]) -> None:
    largest = float(np.abs(sums).max(initial=0))
    if largest > INT32_MAX:
        message = f"a sum of {largest:.0f} does not fit into 32 bits, which the hardware adds in"
        help = "quantize this layer's data in fewer bits, or skip the layer"
        raise DiagnosticError(node_error("AM430", node, message, help))
