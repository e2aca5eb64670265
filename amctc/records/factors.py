"""The quantization factors of a finished graph, layer by layer: what every record is written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.table import op_def
from amctc.dialects.traits import inner_products
from amctc.ir import Graph, InputQuant, Node
from amctc.ir.node import Shape
from amctc.quant.grid import scale_offset_from_range


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
    without weights. `tables_w` is int8 [len(scale_w), 16], the levels of clustered weights; None for any others.
    """

    node: Node
    inputs: tuple[InputFactors, ...]
    scale_w: NDArray[np.float32] | None
    bits_w: int
    tables_w: NDArray[np.int8] | None = None


def layer_factors(graph: Graph) -> Iterator[LayerFactors]:
    """The factors of every quantized layer, in the order of the graph."""
    for node in graph.nodes:
        found = factors_of(node)
        if found is not None:
            yield found


def factors_of(node: Node) -> LayerFactors | None:
    """The factors of one layer; None where it is not quantized."""
    quant = node.quant
    if quant is None:
        return None
    return LayerFactors(
        node=node,
        inputs=tuple(_input(node, given) for given in quant.operands),
        scale_w=weight_scales(node),
        bits_w=quant.weight.bits if quant.weight is not None else 8,
        tables_w=weight_tables(node),
    )


def unseen_state(node: Node) -> tuple[float, int] | None:
    """Scale and offset of a hidden state that no output of the layer shows, for its whole range; None for others."""
    recurrent = op_def(node).recurrent
    if node.quant is None or node.quant.state is None or recurrent is None or recurrent.hidden_output is not None:
        return None
    settings = node.quant.state.settings
    found = scale_offset_from_range(*recurrent.hidden_range, settings.bits, settings.with_offset)
    return float(found.scale), int(found.offset)


def weight_scales(node: Node) -> NDArray[np.float32] | None:
    """The scales of the weights of each inner product, one after the other; None where they are not quantized."""
    weight = node.quant.weight if node.quant is not None else None
    if weight is None or not weight.scales:
        return None
    return np.concatenate([weight.scales[product.weight] for product in inner_products(node)])


def weight_tables(node: Node) -> NDArray[np.int8] | None:
    """The tables of levels of a layer's clustered weights, int8 [scales, 16]; None where they are not clustered."""
    weight = node.quant.weight if node.quant is not None else None
    if weight is None or not weight.tables:
        return None
    return np.concatenate([weight.tables[product.weight] for product in inner_products(node)])


def _input(node: Node, given: InputQuant) -> InputFactors:
    if given.scale is None or given.offset is None:
        raise ValueError(f"input {given.index} of {node.name!r} has not been calibrated")
    inputs = node.inputs
    shape = inputs[given.index].shape if given.index < len(inputs) else None
    return InputFactors(given.index, given.scale, given.offset, given.bits, shape)
