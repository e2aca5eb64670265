"""What quantization-aware training says of a graph: learned ranges of data, and weights on a grid in every pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import OpError
from amctc.dialects.table import op_def
from amctc.dialects.traits import weight_from_rows, weight_rows
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
    """How the weights of a layer are quantized in every forward pass, by ARQ."""

    channel_wise: bool
    bits: int


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


def is_trained(node: Node) -> bool:
    """Whether training quantizes a layer: its data, its weights or both."""
    if op_def(node).linear is None:
        return False
    return WEIGHT_PARAMETER in node.attrs or data_quantizer(node) is not None


def data_quantizer(node: Node) -> Node | None:
    """The RetrainData that a layer reads; None where it reads its data as they are."""
    producers = [value.producer for value in node.inputs]
    return producers[0] if producers and producers[0].op == DATA_OP else None


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
