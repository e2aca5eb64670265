"""The quantization factors of a finished graph, layer by layer: what every record is written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Graph, InputQuant, Node
from amctc.ir.graph import Shape


@dataclass(frozen=True)
class InputFactors:
    """Scale and offset of one data input; `shape` is that of the value the layer reads."""

    index: int
    scale: float
    offset: int
    bits: int
    shape: Shape | None


@dataclass(frozen=True, eq=False)
class LayerFactors:
    """All factors of one layer. `scale_w` is float32 [channels] or [1], None for a layer without weights."""

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
            inputs=tuple(_input(node, given) for given in quant.inputs),
            scale_w=weight.scale if weight is not None else None,
            bits_w=weight.bits if weight is not None else 8,
        )


def _input(node: Node, given: InputQuant) -> InputFactors:
    if given.scale is None or given.offset is None:
        raise ValueError(f"input {given.index} of {node.name!r} has not been calibrated")
    shape = node.inputs[given.index].shape
    return InputFactors(given.index, given.scale, given.offset, given.bits, shape)
