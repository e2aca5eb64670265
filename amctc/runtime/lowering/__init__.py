"""From a graph to ONNX: one small rule an op."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from amctc.dialects.shapes import annotate_dtypes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.runtime.lowering.builder import Lowering, opsets_of, unique_names
from amctc.runtime.lowering.rules import RULES, rule_of
from amctc.runtime.lowering.weights import float_operands

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["RULES", "Lowering", "lower", "lower_nodes"]


def lower(graph: Graph, shapes: Mapping[Value, Shape], fetch: Sequence[Value] | None = None) -> ModelProto:
    """The graph as one ONNX model of static shapes, weights inside: of opset 17, or of its own if it came from ONNX.

    `fetch` are the outputs (default: those of the graph). ONNX names are `Value.name`. Raises KeyError
    for an op without a rule and `DiagnosticError` for missing weights. A graph with host ops, and one
    of more than 2 GiB, needs `amctc.runtime.executor.Executor` instead.
    """
    names = unique_names([value for node in graph.nodes for value in node.outputs])
    low = lower_nodes(graph, graph.nodes, shapes, annotate_dtypes(graph), names)
    sources = [value for node in graph.nodes if op_def(node).source for value in node.outputs]
    return low.model(sources, graph.outputs if fetch is None else fetch)


def lower_nodes(
    graph: Graph,
    nodes: Iterable[Node],
    shapes: Mapping[Value, Shape],
    dtypes: Mapping[Value, str],
    names: Mapping[Value, str],
) -> Lowering:
    """Some nodes of a graph, in order, written into a fresh `Lowering`."""
    low = Lowering(shapes, dtypes, dict(names), opsets_of(graph), float_operands)
    for node in nodes:
        rule_of(node)(low, node)
    return low
