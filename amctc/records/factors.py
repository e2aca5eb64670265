"""The quantization factors of a finished graph, layer by layer: what every record is written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.traits import inner_products
from amctc.ir import Graph, InputQuant, Node, WeightQuant
from amctc.ir.graph import Shape


@dataclass(frozen=True)
class InputFactors:
    """Scale and offset of one operand.

    `shape` is that of the value the layer reads. The hidden state of a recurrent layer has the index
    behind that of the last input, and no shape.
    """

    index: int
    scale: float
    offset: int
    bits: int
    shape: Shape | None


@dataclass(frozen=True, eq=False)
class LayerFactors:
    """All factors of one layer.

    `inputs` are the data inputs and then the hidden state, if there is one. `scale_w` is float32, the
    scales ([channels] or [1]) of the weights of each inner product, one after the other; None for a layer
    without weights.
    """

    node: Node
    inputs: tuple[InputFactors, ...]
    scale_w: NDArray[np.float32] | None
    bits_w: int


def layer_factors(graph: Graph) -> Iterator[LayerFactors]:
    """The factors of every quantized layer, in the order of the graph."""
    for node in graph.nodes:
        quant = node.quant
        if quant is None:
            continue
        weight = quant.weight
        yield LayerFactors(
            node=node,
            inputs=tuple(_input(node, given) for given in quant.operands),
            scale_w=_scales(node, weight) if weight is not None else None,
            bits_w=weight.bits if weight is not None else 8,
        )


def _scales(node: Node, weight: WeightQuant) -> NDArray[np.float32]:
    return np.concatenate([weight.scales[product.weight] for product in inner_products(node)])


def _input(node: Node, given: InputQuant) -> InputFactors:
    if given.scale is None or given.offset is None:
        raise ValueError(f"input {given.index} of {node.name!r} has not been calibrated")
    inputs = node.inputs
    shape = inputs[given.index].shape if given.index < len(inputs) else None
    return InputFactors(given.index, given.scale, given.offset, given.bits, shape)
