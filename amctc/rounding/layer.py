"""One layer of a graph, its rounding learned on what was gathered for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amctc.dialects.scaling import channels_of
from amctc.dialects.traits import linear_trait
from amctc.ir import Node
from amctc.quant.adaround import AdaRoundSettings
from amctc.rounding.activations import activation_behind
from amctc.rounding.learning import FloatLayer, Learning, Rounded
from amctc.rounding.product import Product


@dataclass(frozen=True, eq=False)
class LearnedLayer:
    """Integer weights in the layer's own shape, what the layer gives with them, and how well they do.

    `outputs` has an array for each batch. `activation` is the name of the layer that was learned with it, or None.
    """

    weights: NDArray[np.int8]
    outputs: list[NDArray[np.float32]]
    rounded: Rounded
    samples: int
    activation: str | None


def learn_layer(
    node: Node,
    scale: NDArray[np.float32],
    bits: int,
    given: Sequence[NDArray[Any]],
    wanted: Sequence[NDArray[Any]],
    settings: AdaRoundSettings,
    how: Learning,
    progress: Callable[[int], None] = lambda done: None,
) -> LearnedLayer:
    """Learn the rounding of a linear layer with float weights, of two axes or four.

    `given` has, for each batch, what it reads, `wanted` what it is to give. Of batches of several sizes it is learned
    from those that are as large as the first, but for the number of samples. `scale` is that of the weights, [Cout]
    or [1].
    """
    trait = linear_trait(node)
    parts = channels_of(node).split(node, node.weights[trait.weight]).astype(np.float32)
    bias = node.weights.get(trait.bias)
    behind = activation_behind(node)

    def layer(number: int) -> FloatLayer:
        return FloatLayer(
            node.name,
            Product.of(node, given[number].shape, wanted[number].shape),
            parts,
            scale,
            bits,
            None if bias is None else bias.reshape(-1).astype(np.float32),
            None if behind is None else behind[1],
        )

    layers = [layer(number) for number in range(len(given))]
    alike = [number for number, array in enumerate(given) if array.shape[1:] == given[0].shape[1:]]
    x = torch.cat([layers[number].product.inputs(given[number]) for number in alike])
    y = torch.cat([layers[number].product.outputs(wanted[number]) for number in alike])
    rounded = layers[0].learn(x, y, settings, how, progress)
    outputs = [
        each.product.array(each.output(each.product.inputs(array), rounded.values))
        for each, array in zip(layers, given, strict=True)
    ]
    weights = channels_of(node).join(node, rounded.values).astype(np.int8, copy=False)
    return LearnedLayer(weights, outputs, rounded, len(x), None if behind is None else behind[0].name)
