"""What quantization-aware training says of a graph: learned ranges of data, and weights on a grid in every pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import OpError
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait, weight_from_rows, weight_rows
from amctc.ir import Node
from amctc.quant.arq import WEIGHT_BITS, quantize_weights
from amctc.quant.grid import QuantParams
from amctc.quant.ulq import ulq_grid
from amctc.text.plain import Plain

DATA_OP = "quant.RetrainData"
WEIGHT_PARAMETER = "retrain_weight_quant_param"
"""The field of a layer whose weights are trained quantized."""

_BITS = 8


@dataclass(frozen=True)
class TrainedWeights:
    """How the weights of a layer are quantized in every forward pass: by ARQ, or by a scale that is `learned`."""

    channel_wise: bool
    bits: int
    learned: bool = False


def trained_weights(node: Node) -> TrainedWeights | None:
    """How a layer's weights are trained; None where they are not. Raises `OpError` for widths that there are not."""
    given = node.attrs.get(WEIGHT_PARAMETER)
    if not isinstance(given, dict):
        return None
    bits = given.get("num_bits", _BITS)
    if bits not in WEIGHT_BITS or not isinstance(bits, int):
        known = ", ".join(map(str, WEIGHT_BITS))
        raise OpError(f"the `num_bits` of `{WEIGHT_PARAMETER}` must be one of {known}, not {bits!r}")
    if given.get("with_offset"):
        raise OpError(f"the `with_offset` of `{WEIGHT_PARAMETER}` must be false: weights have no offset")
    return TrainedWeights(bool(given.get("channel_wise", False)), bits)


def weight_scale(node: Node, how: TrainedWeights, weight: NDArray[np.generic]) -> NDArray[np.float32]:
    """The scale of each output channel ([channels]), or the one of all ([1]), of weights in the node's own layout."""
    rows = weight_rows(node, weight).astype(np.float32, copy=False)
    axis = 0 if how.channel_wise else None
    return quantize_weights(rows, axis=axis, bits=how.bits, layer_name=node.name).params.scale.reshape(-1)


def fake_quantized_weight(node: Node, how: TrainedWeights, weight: NDArray[np.generic]) -> NDArray[np.float32]:
    """Weights, in the node's own layout, put on their grid and brought back."""
    rows = weight_rows(node, weight).astype(np.float32, copy=False)
    axis = 0 if how.channel_wise else None
    found = quantize_weights(rows, axis=axis, bits=how.bits, layer_name=node.name).dequantize()
    return weight_from_rows(node, found).astype(np.float32, copy=False)


def weight_parameter(node: Node, how: TrainedWeights) -> dict[str, Plain]:
    """The field of a linear layer whose weights are trained so; `trained_weights` reads it."""
    trait = linear_trait(node)
    weight, channels = node.weights[trait.weight], trait.out_channels(node)
    kernel = weight.shape[2:]
    return {
        "cout": channels,
        "cin": weight.size // max(1, channels * math.prod(kernel)),
        "h": kernel[0] if kernel else 1,
        "w": math.prod(kernel[1:]),
        "layer_type": node.type,
        "channel_wise": how.channel_wise,
        "with_offset": False,
        "num_bits": how.bits,
    }


def is_trained(node: Node) -> bool:
    """Whether training quantizes a layer: its data, its weights or both."""
    return (WEIGHT_PARAMETER in node.attrs and op_def(node).linear is not None) or bool(data_quantizers(node))


def data_quantizers(node: Node) -> Mapping[int, Node]:
    """The RetrainData nodes that a layer reads, by the number of the input; it reads the others as they are."""
    return {i: value.producer for i, value in enumerate(node.inputs) if value.producer.op == DATA_OP}


def data_bits(node: Node) -> int:
    """The width of a RetrainData's grid."""
    bits = node.attrs.get("bits", _BITS)
    return bits if isinstance(bits, int) else _BITS


def data_grid(node: Node) -> QuantParams | None:
    """The grid of a RetrainData; None as long as its clips are not set."""
    high, low = (_number(node, role) for role in ("clip_max", "clip_min"))
    return ulq_grid(high, low, bits=data_bits(node), fixed_min=bool(node.attrs.get("fixed_min")))


def initial_clips(attrs: Mapping[str, Plain]) -> dict[str, NDArray[np.float32]]:
    """The clips that a RetrainData begins with: those that its parameter says, or 0, which stands for none."""
    said = {role: attrs.get(role, 0.0) for role in ("clip_max", "clip_min")}
    return {
        role: np.array([value if isinstance(value, int | float) else 0.0], np.float32) for role, value in said.items()
    }


def _number(node: Node, role: str) -> float:
    stored = node.weights.get(role)
    return float(stored.reshape(-1)[0]) if stored is not None and stored.size == 1 else 0.0
