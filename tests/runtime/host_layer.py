"""One layer that a host op runs, on arrays that a model's feeds may not be: empty, infinite, not a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from amctc.dialects.shapes import annotate_dtypes, infer_nodes
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.runtime.hostops import host_ops_of
from amctc.text.plain import Plain
from tests.runtime.nets import add_input


def layer_of(kind: str, shapes: Sequence[Shape], parameter: Mapping[str, Mapping[str, Plain]], tops: int = 1) -> Node:
    """A layer `layer` behind an Input for each shape."""
    graph = Graph("net")
    values = [add_input(graph, shape, f"in{index}").output for index, shape in enumerate(shapes)]
    attrs: dict[str, Plain] = {name: dict(fields) for name, fields in parameter.items()}
    return graph.add("layer", f"caffe.{kind}", values, [f"out{index}" for index in range(tops)], attrs=attrs)


def infer_layer(
    kind: str, shapes: Sequence[Shape], parameter: Mapping[str, Mapping[str, Plain]], tops: int = 1
) -> tuple[Shape, ...]:
    """The shapes of the tops; `DiagnosticError` where the layer refuses."""
    node = layer_of(kind, shapes, parameter, tops)
    found = infer_nodes([node], dict(zip(node.inputs, shapes, strict=True)))
    return tuple(found[value] for value in node.outputs)


def run_layer(
    kind: str, inputs: Sequence[NDArray[Any]], parameter: Mapping[str, Mapping[str, Plain]], tops: int = 1
) -> list[NDArray[Any]]:
    """The tops of the layer, none larger than its inferred shape says."""
    node = layer_of(kind, [x.shape for x in inputs], parameter, tops)
    known = infer_nodes([node], {value: x.shape for value, x in zip(node.inputs, inputs, strict=True)})
    shapes = tuple(known[value] for value in node.outputs)
    op = next(op for op in host_ops_of(node.dialect) if op.applies(node, annotate_dtypes(node.graph)))
    found = op.run(node, tuple(inputs), shapes)
    for array, shape in zip(found, shapes, strict=True):
        assert array.ndim == len(shape) and all(a <= b for a, b in zip(array.shape, shape, strict=True))
    return list(found)
