"""Small graphs of the caffe and quant dialects for tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amctc.dialects.shapes import annotate_shapes
from amctc.ir import Graph, Node
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain


def one_layer(
    kind: str,
    shape: Shape,
    parameter: Mapping[str, Mapping[str, Plain]] | None = None,
    weights: Mapping[str, Array] | None = None,
) -> Graph:
    """An Input `data` and one layer `layer` of a type behind it."""
    graph = Graph("net")
    data = add_input(graph, shape)
    attrs: dict[str, Plain] = {name: dict(fields) for name, fields in (parameter or {}).items()}
    layer = graph.add("layer", f"caffe.{kind}", [data.output], ["out"], attrs=attrs, weights=weights)
    graph.outputs = [layer.output]
    return graph


def quantized_layer(
    kind: str,
    shape: Shape,
    parameter: Mapping[str, Mapping[str, Plain]],
    weights: Mapping[str, Array],
    *,
    scale: float = 0.05,
    offset: int = 0,
    bits: int = 8,
) -> Graph:
    """An Input, a Quantize and one linear layer on its integers, whose int32 sums are the output."""
    graph = Graph("net")
    data = add_input(graph, shape)
    quantize = graph.add(
        "quant", "quant.Quantize", [data.output], attrs={"scale": scale, "offset": offset, "bits": bits}
    )
    attrs: dict[str, Plain] = {name: dict(fields) for name, fields in parameter.items()}
    layer = graph.add("layer", f"caffe.{kind}", [quantize.output], ["out"], attrs=attrs, weights=weights)
    graph.outputs = [layer.output]
    annotate_shapes(graph)
    return graph


def add_input(graph: Graph, shape: Shape, name: str = "data") -> Node:
    return graph.add(name, "caffe.Input", attrs={"input_param": {"shape": ({"dim": shape},)}})


def random(shape: Shape, seed: int = 0) -> np.typing.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_int8(shape: Shape, seed: int = 0) -> np.typing.NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)
