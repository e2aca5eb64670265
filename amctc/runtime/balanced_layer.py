"""A linear layer as it computes when its channels are balanced and its data and weights quantized."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.scaling import data_channels, scaled_weight
from amctc.dialects.traits import linear_trait, weight_from_rows, weight_rows
from amctc.ir import Node, WeightQuant
from amctc.ir.node import Array
from amctc.quant.activation import ActivationSettings
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
    role, times = linear_trait(node).weight, factors.astype(np.float64)

    def data(array: NDArray[np.float32]) -> NDArray[np.float32]:
        along = factors.reshape((-1,) + (1,) * (array.ndim - 1 - axis))
        return rounded_data(array / along, seen.divided(factors), settings) * along

    def weights() -> Mapping[str, Array]:
        rounded = rounded_weight(node, scaled_weight(node, node.weights[role], times), weight)
        return {role: scaled_weight(node, rounded, 1 / times)}

    return Alternative(weights, data)


def rounded_data(array: NDArray[np.float32], seen: ChannelRange, settings: ActivationSettings) -> NDArray[np.float32]:
    """Data on the grid of so many bits that just holds these ranges, as float32."""
    grid = scale_offset_from_range(seen.least.min(), seen.most.max(), settings.bits, settings.with_offset)
    return fake_quantize(array, grid.scale, grid.offset, settings.bits)


def rounded_weight(node: Node, array: Array, weight: WeightQuant) -> Array:
    """The weights of a linear layer on the grid of ARQ, as floats of their own type.

    Clustered weights, and those of widths that ARQ has not, take 8 bits.
    """
    bits = weight.bits if weight.bits in WEIGHT_BITS and weight.clustering is None else _WEIGHT_BITS
    rows = weight_rows(node, array).astype(np.float32, copy=False)
    params = weight_params(rows, axis=0 if weight.channel_wise else None, bits=bits, layer_name=node.name)
    return weight_from_rows(node, params.dequantize(params.quantize(rows, 0), 0)).astype(array.dtype)
