"""A linear layer as it computes when its channels are balanced and its data and weights quantized."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.scaling import data_channels, scaled_weight
from amctc.dialects.traits import linear_trait, weight_from_rows, weight_rows
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.quant.arq import WEIGHT_BITS, weight_params
from amctc.quant.grid import fake_quantize, scale_offset_from_range
from amctc.runtime.channel_ranges import ChannelRange
from amctc.runtime.layer_errors import Alternative

_WEIGHT_BITS = 8


def balanced_layer(node: Node, factors: NDArray[np.float32], seen: ChannelRange) -> Alternative:
    """The layer with its data divided by factors [C], its weights multiplied, both quantized, and all that undone.

    `seen` are the ranges of the channels of its data. Data take the grid that just holds them all; weights that of ARQ.
    The layer has an annotation that says bits, offset, and scales for each output channel or not, and channels that can
    be balanced; otherwise `ValueError`.
    """
    quant, found = node.quant, data_channels(node)
    if quant is None or quant.weight is None or isinstance(found, str):
        raise ValueError(f"{node.name!r} cannot be balanced")
    weight, settings, axis = quant.weight, quant.inputs[0].settings, found[0]
    grid = scale_offset_from_range(
        (seen.least / factors).min(), (seen.most / factors).max(), settings.bits, settings.with_offset
    )
    bits = weight.bits if weight.bits in WEIGHT_BITS else _WEIGHT_BITS
    wise = 0 if weight.channel_wise else None

    def data(array: NDArray[np.float32]) -> NDArray[np.float32]:
        along = factors.reshape((-1,) + (1,) * (array.ndim - 1 - axis))
        return fake_quantize(array / along, grid.scale, grid.offset, settings.bits) * along

    def weights() -> Mapping[str, Array]:
        role = linear_trait(node).weight
        times = factors.astype(np.float64)
        floats = scaled_weight(node, node.weights[role].astype(np.float32), times)
        rows = weight_rows(node, floats).astype(np.float32, copy=False)
        params = weight_params(rows, axis=wise, bits=bits, layer_name=node.name)
        rounded = weight_from_rows(node, params.dequantize(params.quantize(rows, 0), 0))
        return {role: scaled_weight(node, rounded, 1 / times).astype(node.weights[role].dtype)}

    return Alternative(weights, data)
