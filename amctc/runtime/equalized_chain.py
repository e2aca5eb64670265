"""A chain of linear layers as it computes when the channels between them are equalized, and all is quantized."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.scaling import scaled_weight
from amctc.dialects.traits import linear_trait
from amctc.ir import Node, NodeQuant
from amctc.ir.node import Array
from amctc.runtime.balanced_layer import rounded_data, rounded_weight
from amctc.runtime.channel_ranges import ChannelRange
from amctc.runtime.layer_errors import Alternative, run_alone


@dataclass(frozen=True, eq=False)
class ChainLayer:
    """A linear layer of a chain, and the positively homogeneous layers between it and the next one.

    `quant` says how its weights and its data are rounded, None where they are not. The grid of the data just holds the
    ranges `seen` of their channels.
    """

    node: Node
    behind: tuple[Node, ...]
    quant: NodeQuant | None
    seen: ChannelRange


def equalized_chain(layers: Sequence[ChainLayer], factors: Sequence[NDArray[np.float64]]) -> Alternative:
    """The last layer of a chain, fed by all others as they compute when each link has its factors.

    `factors[i]` [output channels of layer i] are positive: layer i is divided by them, and layer i + 1 multiplied. Two
    layers at least.
    """
    *others, last = list(_scaled(layers, factors))

    def data(array: NDArray[np.float32]) -> NDArray[np.float32]:
        for layer in others:
            way = (layer.of.node, *layer.of.behind)
            array = run_alone(way, [layer.weights(), *({} for _ in layer.of.behind)], layer.data(array))
        return last.data(array)

    return Alternative(last.weights, data, layers[0].node.inputs[0])


@dataclass(frozen=True, eq=False)
class _Scaled:
    """A layer with the factors of its input channels and of its output channels; None where there is no link."""

    of: ChainLayer
    inputs: NDArray[np.float64] | None
    outputs: NDArray[np.float64] | None

    def data(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.of.quant is None:
            return array
        seen = self.of.seen
        if self.inputs is not None:
            seen = seen.divided(np.repeat(self.inputs, len(seen.least) // len(self.inputs)))
        return rounded_data(array, seen, self.of.quant.inputs[0].settings)

    def weights(self) -> Mapping[str, Array]:
        node = self.of.node
        trait = linear_trait(node)
        found = scaled_weight(node, node.weights[trait.weight], self.inputs, self.outputs)
        if self.of.quant is not None and self.of.quant.weight is not None:
            found = rounded_weight(node, found, self.of.quant.weight)
        bias = node.weights.get(trait.bias)
        if bias is None or self.outputs is None:
            return {trait.weight: found}
        divided = (bias.astype(np.float64) / self.outputs.reshape(bias.shape)).astype(bias.dtype)
        return {trait.weight: found, trait.bias: divided}


def _scaled(layers: Sequence[ChainLayer], factors: Sequence[NDArray[np.float64]]) -> Iterator[_Scaled]:
    for layer, inputs, outputs in zip(layers, [None, *factors], [*factors, None], strict=True):
        yield _Scaled(layer, inputs, outputs)
