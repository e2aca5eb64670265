"""What the forms of a quantized model have in common for LSTM, GRU and RNN, which quantize inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.operands import Operand, operands
from amctc.dialects.onnx.recurrent import hidden_size, inner_products_of
from amctc.dialects.traits import grids_inside, product_bias, weight_rows
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering

RECURRENT_OPS = ("onnx.LSTM", "onnx.GRU", "onnx.RNN")
_SHAPE_OF_BATCH = 1


def operand_at(node: Node, position: int) -> Operand:
    """The operand at a position of the ONNX node; None where it is left out."""
    found = operands(node)
    return found[position] if position < len(found) else None


def operand_scale(node: Node, index: int) -> float:
    """scale_d of operand 0, the data, or of the hidden state; that of the annotation where there is one."""
    given = node.quant.operand(index).scale if node.quant is not None else None
    return float(np.float32(1) / grids_inside(node).operands[index].factor) if given is None else given


def weight_scales(node: Node) -> dict[str, NDArray[np.float32]]:
    """The scales of W and R, float32 [1] or [rows]: the annotation's, or deq_scale / scale_d."""
    grids, weight = grids_inside(node), node.quant.weight if node.quant is not None else None
    found: dict[str, NDArray[np.float32]] = {}
    for product, deq_scales in zip(inner_products_of(node), grids.deq_scales, strict=True):
        known = None if weight is None else weight.scales.get(product.weight)
        implied = deq_scales * grids.operands[product.operand].factor
        found[product.weight] = np.asarray(implied if known is None else known, np.float32)
    return found


def bias_scales(node: Node) -> NDArray[np.float32]:
    """scale_d * scale_w for each element of B: first those of W, then those of R."""
    deq_scales = grids_inside(node).deq_scales
    rows = [len(weight_rows(node, node.weights[product.weight])) for product in inner_products_of(node)]
    parts = [np.broadcast_to(scale, (count,)) for scale, count in zip(deq_scales, rows, strict=True)]
    return np.concatenate(parts).astype(np.float32)


def float_numbers(node: Node) -> dict[str, NDArray[np.float32]]:
    """W, R and, where there is one, B, as the numbers that their integers stand for."""
    found = {
        role: (node.weights[role].astype(np.float32) * _along_rows(scale)).astype(np.float32)
        for role, scale in weight_scales(node).items()
    }
    bias = inner_products_of(node)[0].bias
    if bias is not None:
        found[bias] = (node.weights[bias].astype(np.float32) * bias_scales(node)).astype(np.float32)
    return found


def _along_rows(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    return scale.reshape(1, -1, 1)


def integers_of(node: Node) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]], ...]:
    """For W and then R: the integers as float32 [K, rows], those of the bias [rows], and the deq_scales."""
    found: list[tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]] = []
    for product, deq_scales in zip(inner_products_of(node), grids_inside(node).deq_scales, strict=True):
        rows, bias = weight_rows(node, node.weights[product.weight]), product_bias(node, product)
        addend = None if bias is None else bias.astype(np.float32)
        found.append((np.ascontiguousarray(rows.T.astype(np.float32)), addend, deq_scales))
    return tuple(found)


def size_of_axis(low: Lowering, source: str, axis: int) -> str:
    """The size of an axis of a value while the model runs, int64 [1]."""
    index = low.constant(np.array([axis], np.int64), f"{source}.axis")
    return low.emit("Gather", [low.emit("Shape", [source]), index])


def zero_state(low: Lowering, node: Node, *, directions: bool) -> str:
    """A state of zeros for the batch that comes, [N, H] or, with `directions`, [1, N, H]."""
    batch = size_of_axis(low, low.name(node.inputs[0]), _SHAPE_OF_BATCH)
    sizes = [batch, low.constant(np.array([hidden_size(node)], np.int64), f"{node.name}.hidden_size")]
    if directions:
        sizes.insert(0, low.constant(np.array([1], np.int64), f"{node.name}.directions"))
    return low.emit("ConstantOfShape", [low.emit("Concat", sizes, axis=0)])
