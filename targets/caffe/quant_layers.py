"""The quant dialect in Caffe's words: Quant, AntiQuant and DeQuant layers.

`amctc/frontends/caffe/quant_layers.py` is the other direction. A fake-quant model computes on
centred integers held in float32 (`centered`): zero padding then means a real zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from amctc.ir import Node
from amctc.ir.graph import Array
from amctc.quant.deq_scale import pack_deq_scale
from amctc.text.plain import Plain


@dataclass(frozen=True)
class CaffeLayer:
    """One layer as the files will have it: its type, parameters and blobs."""

    type: str
    attrs: dict[str, Plain]
    blobs: Sequence[Array]


_OBJECT = MappingProxyType({"layer": "object_layer", "index": "index"})


def quant_layer(node: Node, *, fake: bool) -> CaffeLayer:
    """A node of the quant dialect for the fake-quant or the deploy model."""
    match node.op:
        case "quant.Quantize":
            factor = np.float32(1) / np.float32(_number(node, "scale"))
            return CaffeLayer("Quant", {"quant_param": _parameter(node, float(factor), fake)}, ())
        case "quant.AntiQuantize":
            return CaffeLayer("AntiQuant", {"quant_param": _parameter(node, _number(node, "scale"), fake)}, ())
        case "quant.Dequantize":
            return _dequant(node, fake)
        case _:
            raise ValueError(f"{node.op} has no Caffe form")


def _parameter(node: Node, scale: float, fake: bool) -> dict[str, Plain]:
    offset = int(_number(node, "offset"))
    parameter: dict[str, Plain] = {"with_offset": offset != 0, "scale": scale, "offset": offset}
    parameter |= {theirs: node.attrs[ours] for ours, theirs in _OBJECT.items() if ours in node.attrs}
    parameter["num_bits_d"] = int(_number(node, "bits"))
    if fake or node.attrs.get("centered"):
        parameter["centered"] = True
    return parameter


def _dequant(node: Node, fake: bool) -> CaffeLayer:
    parameter: dict[str, Plain] = {}
    if "layer" in node.attrs:
        parameter["object_layer"] = node.attrs["layer"]
    stored = node.weights.get("deq_scale")
    channel_wise = node.attrs.get("channel_wise", False) if stored is None else stored.size > 1
    parameter |= {"num_bits_w": node.attrs.get("bits", 8), "channel_wise": channel_wise}
    if stored is None:  # a prototxt is read and written without weights
        return CaffeLayer("DeQuant", {"dequant_param": parameter}, ())
    deq_scale = stored.astype(np.float32)
    if fake:
        zeros = np.zeros_like(deq_scale)
        return CaffeLayer("DeQuant", {"dequant_param": parameter}, (deq_scale, zeros, zeros))
    return CaffeLayer("DeQuant", {"dequant_param": parameter}, (pack_deq_scale(deq_scale),))


def _number(node: Node, key: str) -> float:
    value = node.attrs[key]
    if not isinstance(value, int | float):
        raise ValueError(f"{key} of {node.name!r} is not a number")
    return value
