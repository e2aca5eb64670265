"""The layers that amctc adds to a Caffe net, read back: Quant, AntiQuant, DeQuant.

`targets/caffe/quant_layers.py` is the other direction. A Quant layer's `scale` multiplies, so it is
1/scale_d; an AntiQuant layer's `scale` multiplies too, so it is scale_d itself.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from amctc.ir import Node
from amctc.ir.graph import Array
from amctc.quant.deq_scale import unpack_deq_scale
from amctc.text.plain import Plain

QUANT_LAYERS = MappingProxyType(
    {
        "Quant": "quant.Quantize",
        "AntiQuant": "quant.AntiQuantize",
        "DeQuant": "quant.Dequantize",
    }
)
"""Caffe layer type -> op of the quant dialect."""


def quant_node(node: Node) -> None:
    """Replace the Caffe parameters of a freshly read Quant or AntiQuant node by those of the quant dialect."""
    if node.op == "quant.Dequantize":
        node.attrs = {}
        return
    parameter = node.attrs.get("quant_param")
    given: dict[str, Plain] = parameter if isinstance(parameter, dict) else {}
    factor = np.float32(_number(given.get("scale"), 1.0))
    scale = np.float32(1) / factor if node.op == "quant.Quantize" else factor
    node.attrs = {
        "scale": float(scale),
        "offset": int(_number(given.get("offset"), 0)),
        "bits": int(_number(given.get("num_bits_d"), 8)),
        "centered": bool(given.get("centered", False)),
    }


def attach_deq_scale(node: Node, blobs: tuple[Array, ...]) -> None:
    """The deq_scale of a DeQuant layer: float32 in a fake-quant model, packed uint64 words in a deploy one."""
    first = blobs[0].reshape(-1)
    packed = first.dtype == np.uint64
    node.weights["deq_scale"] = unpack_deq_scale(first.astype(np.uint64)).scale if packed else first.astype(np.float32)


def _number(value: Plain | None, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
