"""Asking a node for a trait of its op."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import InnerProduct, Linear, OpError, UnknownShape
from amctc.dialects.recurrent_grids import RecurrentGrids
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Shape


def linear_trait(node: Node) -> Linear:
    """The linear trait of a node that has it; ValueError otherwise."""
    trait = op_def(node).linear
    if trait is None:
        raise ValueError(f"{node.op} is not linear")
    return trait


def output_channel_axis(node: Node) -> int | None:
    """The axis of a linear layer's output along which its channels lie; None where only the unknown shape would tell.

    An op with windows needs no shape: its filters have as many axes as its output.
    """
    trait, shape = linear_trait(node), node.output.shape
    if shape is None and trait.window is not None and trait.weight in node.weights:
        shape = (1,) * node.weights[trait.weight].ndim
    return None if shape is None else trait.channel_axis(node, shape)


def biased_output(node: Node) -> Value:
    """The output of a linear layer with its bias.

    That is the output of the layer behind it where that adds a number for each channel of the last axis, or one for
    all, to what nobody else reads: ONNX's MatMul has no bias of its own.
    """
    trait, value = linear_trait(node), node.output
    uses = node.graph.uses(value)
    if trait.bias in node.weights or len(uses) != 1 or node.graph.is_output(value):
        return value
    reader = uses[0].node
    addend = op_def(reader).addend(reader)
    if addend is None or addend.size != max(addend.shape[-1:], default=1):
        return value
    return reader.output if addend.size in (1, trait.out_channels(node)) else value


def inner_products(node: Node) -> tuple[InnerProduct, ...]:
    """The products of weights with data that make up a node: one for a linear layer, some for a recurrent one."""
    row = op_def(node)
    if row.recurrent is not None:
        return row.recurrent.products(node)
    return () if row.linear is None else (InnerProduct(row.linear.weight, row.linear.bias, 0),)


def quantizes_inside(node: Node) -> bool:
    """Whether a node is a recurrent layer that computes on integers."""
    recurrent = op_def(node).recurrent
    return recurrent is not None and recurrent.is_quantized(node)


def grids_inside(node: Node) -> RecurrentGrids:
    """The grids of such a layer. Raises `OpError` where they do not fit it, ValueError for any other node."""
    recurrent = op_def(node).recurrent
    if recurrent is None or not recurrent.is_quantized(node):
        raise ValueError(f"{node.name!r} does not quantize inside")
    return recurrent.grids(node)


def initial_state(node: Node) -> Value | NDArray[np.float32] | None:
    """What the hidden state of a recurrent layer is before the first step; None where its range has that anyway."""
    recurrent = op_def(node).recurrent
    return None if recurrent is None else recurrent.initial(node)


def product_bias(node: Node, product: InnerProduct) -> NDArray[np.generic] | None:
    """The bias of an inner product as the layer has it, [Cout]; None where it has none."""
    bias = node.weights.get(product.bias) if product.bias is not None else None
    if bias is None or product.bias_part is None:
        return bias
    begin, end = product.bias_part
    return bias.reshape(-1)[begin:end]


def weight_rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """The weight array of an inner product as [Cout, everything else]; a view where possible."""
    row = op_def(node)
    if row.recurrent is not None:
        return row.recurrent.rows(weight)
    return weight if row.linear is None else row.linear.by_output_channel(node, weight)


def weight_from_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """The inverse of `weight_rows`."""
    row = op_def(node)
    if row.recurrent is not None:
        return row.recurrent.from_rows(rows)
    return rows if row.linear is None else row.linear.from_output_channel(node, rows)


def affine_coefficients(
    node: Node, channels: int, axis: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    """(a, b) as float64 [channels] with y = a*x + b along an axis, or the reason why the node is not such a map."""
    trait = op_def(node).affine
    if trait is None:
        return f"{node.type} is not a map of each channel"
    if trait.axis(node) != axis:
        return f"its channels are not on axis {axis}"
    return trait.coefficients(node, channels)


def changes_nothing(node: Node, shapes: tuple[Shape, ...] | None) -> bool:
    """Whether the first output of a node always equals its first input.

    `shapes` are those of the inputs; without them (None) only layers that never change anything are known.
    """
    row = op_def(node)
    if row.identity or shapes is None:
        return row.identity
    try:
        return row.changes_nothing(node, shapes)
    except (OpError, UnknownShape):
        return False


def keeps_grid(node: Node) -> bool:
    """Whether what lies on a grid at the inputs of a node still does at its outputs: it only moves or chooses."""
    row = op_def(node)
    return row.identity or row.moves_data or row.keeps_grid(node)


def may_be_constant(node: Node) -> bool:
    """Whether a node gives the same in every batch if its inputs do."""
    row = op_def(node)
    return not (row.source or row.effect or row.training_only or row.recurrent is not None)
