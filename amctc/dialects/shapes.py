"""Shape inference over a graph, and the check that weights fit."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.op import OpError
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.graph import Shape


def node_error(code: str, node: Node, message: str, help: str | None = None) -> Diagnostic:
    """A diagnostic about one layer, pointing at the place it was read from."""
    origin = node.origin
    span = origin.span if origin is not None else None
    file = origin.file if origin is not None and span is None else None
    return Diagnostic(code, f"layer `{node.name}` ({node.type}): {message}", span=span, file=file, help=help)


def infer_shapes(graph: Graph, inputs: Mapping[str, Shape] | None = None) -> dict[Value, Shape]:
    """The shape of every value, computed from those of the graph's inputs.

    `inputs` replaces the declared shapes, by blob name. Raises `DiagnosticError` (AM320) with one
    diagnostic for each layer whose parameters do not fit; layers behind such a one are left alone.
    """
    replaced = inputs or {}
    shapes: dict[Value, Shape] = {}
    collector = Collector()
    for node in graph.nodes:
        known = [shapes[value] for value in node.inputs if value in shapes]
        if len(known) != len(node.inputs):
            continue
        row = op_def(node)
        try:
            found = row.infer(node, tuple(known))
        except OpError as mistake:
            collector.add(node_error("AM320", node, str(mistake)))
            continue
        for value, shape in zip(node.outputs, found, strict=True):
            shapes[value] = replaced.get(value.blob, shape) if row.source else shape
    collector.raise_errors()
    return shapes


def annotate_shapes(graph: Graph) -> dict[Value, Shape]:
    """Infer shapes and write them, with the element types, into the values of the graph."""
    shapes = infer_shapes(graph)
    for node in graph.nodes:
        for value, dtype in zip(node.outputs, op_def(node).output_dtypes(node), strict=True):
            value.shape = shapes[value]
            value.dtype = dtype
    return shapes
