"""The fake-quant model: the deploy model's integers held in float32, in standard ops that any runtime has.

The integers of data are centred (the offset is taken off), so that zero padding means a real zero.
"""

from __future__ import annotations

from types import MappingProxyType

from amctc.ir import Node
from amctc.quant.grid import grid_limits
from amctc.runtime.lowering.builder import Lowering
from amctc.runtime.lowering.quantization import grid_of, lower_dequantize
from amctc.targets.onnx.form import Form, integers_in_float
from amctc.targets.onnx.recurrent import RECURRENT_OPS
from amctc.targets.onnx.recurrent_steps import lower_recurrent


def _quantize(low: Lowering, node: Node) -> None:
    """clip(round_half_even(x * (1 / scale)) + offset) - offset."""
    scale, offset, bits = grid_of(node)
    lowest, highest = grid_limits(bits)
    inverse = low.scalar(float(1 / scale), f"{node.name}.inverse_scale")
    scaled = low.emit("Mul", [low.name(node.inputs[0]), inverse], node_name=node.name)
    limits = (low.scalar(limit - offset, f"{node.name}.limit") for limit in (lowest, highest))
    low.emit("Clip", [low.emit("Round", [scaled]), *limits], low.name(node.output))


def _anti_quantize(low: Lowering, node: Node) -> None:
    scale, _, _ = grid_of(node)
    factor = low.scalar(float(scale), f"{node.name}.scale")
    low.emit("Mul", [low.name(node.inputs[0]), factor], low.name(node.output), node.name)


FAKE_QUANT = Form(
    MappingProxyType(
        {
            "quant.Quantize": _quantize,
            "quant.Dequantize": lower_dequantize,
            "quant.AntiQuantize": _anti_quantize,
            **dict.fromkeys(RECURRENT_OPS, lower_recurrent),
        }
    ),
    integers_in_float,
)
