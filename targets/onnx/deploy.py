"""The deploy model as AMCT writes it for ATC: int8 weights, int32 biases, and Ascend's ops, which no runtime here has.

`amctc/frontends/onnx/ascend.py` is the other direction. The ops stand in the standard domain, as there.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from amctc.dialects.recurrent_grids import OperandGrid
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Node
from amctc.quant.deq_scale import pack_deq_scale
from amctc.quant.nibbles import PACKED, pack_pairs
from amctc.runtime.lowering.builder import Lowering, weight_of
from amctc.runtime.lowering.onnx_nodes import lower_as_it_is
from amctc.runtime.lowering.quantization import grid_of
from amctc.runtime.lowering.rules import rule_of
from amctc.runtime.lowering.weights import float_operands
from amctc.targets.onnx.form import Form, is_quantized
from amctc.targets.onnx.recurrent import RECURRENT_OPS
from amctc.targets.onnx.recurrent_deploy import lower_recurrent

_POOL = "onnx.AveragePool"


def _quantize(low: Lowering, node: Node) -> None:
    scale, offset, bits = grid_of(node)
    # AscendQuant multiplies by its scale.
    _ascend(low, node, "AscendQuant", float(np.float32(1) / scale), offset, bits)


def _anti_quantize(low: Lowering, node: Node) -> None:
    if _is_for_pools(node):
        low.names[node.output] = low.name(node.inputs[0])
        return
    scale, offset, bits = grid_of(node)
    _ascend(low, node, "AscendAntiQuant", float(scale), offset, bits)


def _is_for_pools(node: Node) -> bool:
    """Whether only poolings read the floats: AMCT lets these compute on integers and dequantizes what they give."""
    uses = node.graph.uses(node.output)
    return bool(uses) and all(use.node.op == _POOL for use in uses) and not node.graph.is_output(node.output)


def _average_pool(low: Lowering, node: Node) -> None:
    before = node.inputs[0].producer
    if before.op != "quant.AntiQuantize" or not _is_for_pools(before):
        lower_as_it_is(low, node)
        return
    scale, _, _ = grid_of(before)
    output, name = low.name(node.output), f"{node.name}.dequant"
    low.names[node.output] = low.fresh(f"{output}.sums")
    lower_as_it_is(low, node)
    parameter = low.constant(pack_deq_scale(np.array([scale], np.float32)), f"{name}.param")
    low.emit("AscendDequant", [low.name(node.output), parameter], output, name, dtype=0)
    low.names[node.output] = output


def _gemm(low: Lowering, node: Node) -> None:
    """With the weights as [K, N], which is how AMCT writes them."""
    if op_def(node).linear is None or not is_quantized(node):
        rule_of(node)(low, node)
        return
    inputs = [low.name(node.inputs[0]), *_operands(low, node)]
    low.emit("Gemm", inputs, low.name(node.output), node.name, alpha=1.0, beta=1.0, transB=0)


def _operands(low: Lowering, node: Node) -> list[str]:
    """The integers; weights of 4 bits two in a byte, neighbours along the input channels, the even one below."""
    if not is_quantized(node):
        return float_operands(low, node)
    trait = linear_trait(node)
    weight = node.weights[trait.weight]
    if node.op == "onnx.Gemm":
        weight = np.ascontiguousarray(trait.by_output_channel(node, weight).T)
    if node.quant is not None and node.quant.weight is not None and node.quant.weight.bits == PACKED:
        weight = pack_pairs(weight.astype(np.int8), 0 if trait.transposed or trait.window is None else 1)
    found = [low.constant(weight, f"{node.name}.weight")]
    bias = node.weights.get(trait.bias)
    return found if bias is None else [*found, low.constant(bias, f"{node.name}.bias")]


def _ascend(low: Lowering, node: Node, op_type: str, scale: float, offset: int, bits: int) -> None:
    kind = "INT8" if bits <= 8 else "INT16"
    inputs = [low.name(node.inputs[0])]
    low.emit(op_type, inputs, low.name(node.output), node.name, scale=scale, offset=float(offset), dst_type=kind)


def _dequantize(low: Lowering, node: Node) -> None:
    words = pack_deq_scale(weight_of(node, "deq_scale").astype(np.float32).reshape(-1))
    parameter = low.constant(words, f"{node.name}.param")
    low.emit("AscendDequant", [low.name(node.inputs[0]), parameter], low.name(node.output), node.name, dtype=0)


def _on_grid(low: Lowering, source: str, grid: OperandGrid) -> str:
    kind = "INT8" if grid.bits <= 8 else "INT16"
    offset = float(grid.offset)
    quantized = low.emit("AscendQuant", [source], scale=float(grid.factor), offset=offset, dst_type=kind)
    scale = float(np.float32(1) / grid.factor)
    return low.emit("AscendAntiQuant", [quantized], scale=scale, offset=offset, dst_type=kind)


DEPLOY = Form(
    MappingProxyType(
        {
            "quant.Quantize": _quantize,
            "quant.Dequantize": _dequantize,
            "quant.AntiQuantize": _anti_quantize,
            _POOL: _average_pool,
            "onnx.Gemm": _gemm,
            **dict.fromkeys(RECURRENT_OPS, lower_recurrent(_on_grid)),
        }
    ),
    _operands,
)
