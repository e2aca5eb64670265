"""The deploy model as AMCT writes it for ATC: int8 weights, int32 biases, and Ascend's ops, which no runtime here has.

`amctc/frontends/onnx/ascend.py` is the other direction. The ops stand in the standard domain, as there.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from amctc.ir import Node
from amctc.quant.deq_scale import pack_deq_scale
from amctc.runtime.lowering.builder import Lowering, weight_of
from amctc.runtime.lowering.quantization import grid_of
from amctc.targets.onnx.form import Form, integer_operands


def _quantize(low: Lowering, node: Node) -> None:
    scale, offset, bits = grid_of(node)
    # AscendQuant multiplies by its scale.
    _ascend(low, node, "AscendQuant", float(np.float32(1) / scale), offset, bits)


def _anti_quantize(low: Lowering, node: Node) -> None:
    scale, offset, bits = grid_of(node)
    _ascend(low, node, "AscendAntiQuant", float(scale), offset, bits)


def _ascend(low: Lowering, node: Node, op_type: str, scale: float, offset: int, bits: int) -> None:
    kind = "INT8" if bits <= 8 else "INT16"
    inputs = [low.name(node.inputs[0])]
    low.emit(op_type, inputs, low.name(node.output), node.name, scale=scale, offset=float(offset), dst_type=kind)


def _dequantize(low: Lowering, node: Node) -> None:
    words = pack_deq_scale(weight_of(node, "deq_scale").astype(np.float32).reshape(-1))
    parameter = low.constant(words, f"{node.name}.param")
    low.emit("AscendDequant", [low.name(node.inputs[0]), parameter], low.name(node.output), node.name, dtype=0)


DEPLOY = Form(
    MappingProxyType(
        {"quant.Quantize": _quantize, "quant.Dequantize": _dequantize, "quant.AntiQuantize": _anti_quantize}
    ),
    integer_operands,
)
