"""Linear layers behind a Quantize: exact integer sums, int32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.quant.grid import grid_limits
from amctc.runtime.lowering.builder import Attribute, Lowering, weight_of
from amctc.runtime.lowering.windows import folded_shape

INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class IntegerLayer:
    """The integers of one linear layer: (x - offset) times `weight`, in the layer's own layout, plus `bias`.

    `bias` is [Cout] or None; `bits` are those of x.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32] | None
    offset: int
    bits: int


def reads_integers(low: Lowering, node: Node) -> bool:
    """Whether the data input of a linear layer holds integers."""
    return low.dtype(node.inputs[0]).startswith("int")


def integer_layer(node: Node) -> IntegerLayer:
    """The integers of a layer whose data input comes from a Quantize.

    Raises `DiagnosticError` (AM431) where the weights are not int8, the bias is not int32, or no
    Quantize says what the input means.
    """
    trait = linear_trait(node)
    weight, bias = weight_of(node, trait.weight), node.weights.get(trait.bias)
    if weight.dtype != np.int8:
        raise _malformed(node, f"reads integers, but its {trait.weight} is {weight.dtype}, not int8")
    if bias is not None and bias.dtype != np.int32:
        raise _malformed(node, f"reads integers, but its {trait.bias} is {bias.dtype}, not int32")
    quantize = producer_of(node.inputs[0])
    offset, bits = quantize.attrs.get("offset"), quantize.attrs.get("bits")
    if quantize.op != "quant.Quantize" or not isinstance(offset, int) or not isinstance(bits, int):
        raise _malformed(node, f"reads integers, but `{quantize.name}` ({quantize.type}) gives no offset for them")
    flat = None if bias is None else bias.reshape(-1).astype(np.int32, copy=False)
    return IntegerLayer(weight, flat, offset, bits)


def producer_of(value: Value) -> Node:
    """The node that computes a value, seen through ops that only move elements."""
    node = value.producer
    while op_def(node).identity or op_def(node).moves_data:
        node = node.inputs[0].producer
    return node


def largest_sum(node: Node) -> int:
    """A bound on the magnitude of any sum (and partial sum) of an integer layer."""
    layer = integer_layer(node)
    rows = linear_trait(node).by_output_channel(node, layer.weight)
    low, high = grid_limits(layer.bits)
    reach = max(abs(low - layer.offset), abs(high - layer.offset))
    weights = np.abs(rows.astype(np.int16)).reshape(rows.shape[0], -1).sum(axis=1, dtype=np.int64)
    totals = weights * reach
    if layer.bias is not None:
        totals = totals + np.abs(layer.bias.astype(np.int64))
    return int(totals.max(initial=0))


def convolve_integers(low: Lowering, node: Node, attrs: Mapping[str, Attribute], axis: int = 1) -> None:
    """ConvInteger on 8-bit data, with these attributes; the padding is the offset, which means real zero.

    `axis` is that of the channels: those before it are taken together.
    """
    layer = integer_layer(node)
    operands = _operands(low, node, layer, layer.weight)
    bias = _bias(low, node, layer, (1, -1) + (1,) * (layer.weight.ndim - 2))
    for source, target in zip(node.inputs, node.outputs, strict=True):
        data, output = low.unsigned(source), low.name(target)
        direct = axis == 1
        if not direct:
            data, output = low.reshape(data, folded_shape(low.shape(source), axis)), low.fresh("sums")
        sums = low.emit("ConvInteger", [data, *operands], None if bias else output, "", **attrs)
        _finish(low, sums, bias, output, target)


def multiply_integers(low: Lowering, node: Node, rows: Shape | None = None) -> None:
    """MatMulInteger on 8-bit data, along their last axis; `rows` is the matrix that the data are taken as, if any."""
    layer = integer_layer(node)
    matrix = np.ascontiguousarray(linear_trait(node).by_output_channel(node, layer.weight).T).astype(np.int8)
    operands = _operands(low, node, layer, matrix)
    source = node.inputs[0]
    bias = _bias(low, node, layer, (-1,))
    data, output = low.unsigned(source), low.name(node.output)
    if rows is not None:
        data = data if low.shape(source) == rows else low.reshape(data, rows)
        output = output if low.shape(node.output) == (rows[0], matrix.shape[1]) else low.fresh("sums")
    sums = low.emit("MatMulInteger", [data, *operands], None if bias else output)
    _finish(low, sums, bias, output, node.output)


def _operands(low: Lowering, node: Node, layer: IntegerLayer, weight: NDArray[np.int8]) -> list[str]:
    """The weight and the two zero points; everything moved by 128 to uint8 (see `Lowering.unsigned`)."""
    moved = (weight.astype(np.int16) + 128).astype(np.uint8)
    return [
        low.constant(moved, f"{node.name}.weight"),
        low.constant(np.array(layer.offset + 128, np.uint8), f"{node.name}.x_zero"),
        low.constant(np.array(128, np.uint8), f"{node.name}.w_zero"),
    ]


def _bias(low: Lowering, node: Node, layer: IntegerLayer, shape: Shape) -> str | None:
    if layer.bias is None:
        return None
    return low.constant(layer.bias.reshape(shape), f"{node.name}.bias")


def _finish(low: Lowering, sums: str, bias: str | None, output: str, target: Value) -> None:
    """Add the bias into `output`, and give that the target's shape and name where it is another one."""
    if bias is not None:
        low.emit("Add", [sums, bias], output)
    if output != low.name(target):
        low.reshape(output, low.shape(target), low.name(target))


def _malformed(node: Node, message: str) -> DiagnosticError:
    return DiagnosticError(node_error("AM431", node, message))
