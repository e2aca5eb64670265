"""The quant dialect in GE's words: AscendQuant, AscendDequant and AscendAntiQuant.

`amctc/frontends/ge/ascend.py` is the other direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.air.data_types import CPP_NUMBERS, GE_TYPES
from amctc.diagnostics import Collector
from amctc.dialects.shapes import node_error
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.quant.deq_scale import pack_deq_scale
from amctc.runtime.lowering.quantization import grid_of
from amctc.text.plain import Plain

_FP16_LARGEST = np.float32(65504)
_FP16_SMALLEST = np.float32(2**-24)
_WIDEST = 8


@dataclass(frozen=True)
class AscendForm:
    """How the quantized graph is spelled.

    `weight_quant`: an AscendWeightQuant behind each integer filter. `sqrt_mode`: the roots of scales that leave
    float16's range.
    """

    weight_quant: bool = False
    sqrt_mode: bool = True


@dataclass(frozen=True)
class Written:
    """One op of GE: its inputs, values or constants, by the names of their slots."""

    type: str
    inputs: Sequence[tuple[str, Value | Array]]
    attributes: Mapping[str, Plain]
    outputs: Sequence[str] = ("y",)


def check_form(graph: Graph, form: AscendForm) -> None:
    """Raise `DiagnosticError` (AM716) for what of the quant dialect GE has no op for."""
    collector = Collector()
    for node in graph.nodes:
        reason = _obstacle(node, form) if node.op in QUANT_RULES else None
        if reason is not None:
            help = "take 8 bits" if "bits" in reason else "quantize the model anew, with less extreme weights and data"
            collector.add(node_error("AM716", node, reason, help))
    collector.raise_errors()


def leaves_half(scales: NDArray[np.float32]) -> bool:
    """Whether one of these positive numbers is beyond what float16 holds: 2^-24 to 65504."""
    return bool((scales > _FP16_LARGEST).any() or (scales < _FP16_SMALLEST).any())


def _obstacle(node: Node, form: AscendForm) -> str | None:
    if node.op == "quant.Dequantize":
        scales = _deq_scales(node)
    else:
        scale, _, bits = grid_of(node)
        if bits > _WIDEST:
            return f"has data of {bits} bits, for whose sums GE has no op that a model may have"
        scales = np.array([np.float32(1) / scale if node.op == "quant.Quantize" else scale], np.float32)
    if form.sqrt_mode and leaves_half(_rooted(scales, form)[0]):
        worst = max(scales.tolist(), key=lambda scale: abs(np.log2(scale)))
        return f"has the scale {worst:.4g}, whose root is beyond what float16 holds too"
    return None


def _rooted(scales: NDArray[np.float32], form: AscendForm) -> tuple[NDArray[np.float32], bool]:
    """The scales or, where these leave float16's range, their roots."""
    root = form.sqrt_mode and leaves_half(scales)
    return (np.sqrt(scales) if root else scales), root


def _quantize(node: Node, form: AscendForm) -> Written:
    scale, offset, _ = grid_of(node)
    # AscendQuant multiplies with its scale.
    factor, root = _rooted(np.array([np.float32(1) / scale], np.float32), form)
    attributes: dict[str, Plain] = {
        "scale": float(factor[0]),
        "offset": float(offset),
        "sqrt_mode": root,
        "round_mode": "Round",
        "dst_type": CPP_NUMBERS["DT_INT8"],
    }
    return Written("AscendQuant", [("x", node.inputs[0])], attributes)


def _anti_quantize(node: Node, form: AscendForm) -> Written:
    scale, offset, _ = grid_of(node)
    factor, root = _rooted(np.array([scale], np.float32), form)
    # AscendAntiQuant adds its offset.
    attributes: dict[str, Plain] = {
        "scale": float(factor[0]),
        "offset": float(-offset),
        "dtype": _float_number(node),
        "sqrt_mode": root,
    }
    return Written("AscendAntiQuant", [("x", node.inputs[0])], attributes)


def _dequantize(node: Node, form: AscendForm) -> Written:
    factors, root = _rooted(_deq_scales(node), form)
    attributes: dict[str, Plain] = {"sqrt_mode": root, "relu_flag": False, "dtype": _float_number(node)}
    return Written("AscendDequant", [("x", node.inputs[0]), ("deq_scale", pack_deq_scale(factors))], attributes)


def _deq_scales(node: Node) -> NDArray[np.float32]:
    return node.weights["deq_scale"].astype(np.float32).reshape(-1)


def _float_number(node: Node) -> int:
    """The number that an attribute has for the type of the output, float32 or float16."""
    return CPP_NUMBERS[GE_TYPES[node.output.dtype]]


Rule: TypeAlias = Callable[[Node, AscendForm], Written]

QUANT_RULES: Mapping[str, Rule] = MappingProxyType(
    {"quant.Quantize": _quantize, "quant.AntiQuantize": _anti_quantize, "quant.Dequantize": _dequantize}
)
"""By op of the quant dialect."""
