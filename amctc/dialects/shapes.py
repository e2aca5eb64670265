"""Shape inference over a graph, and the check that weights fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape


def node_error(code: str, node: Node, message: str, help: str | None = None) -> Diagnostic:
    """A diagnostic about one layer, pointing at the place it was read from."""
    origin = node.origin
    span = origin.span if origin is not None else None
    file = origin.file if origin is not None and span is None else None
    return Diagnostic(code, f"layer `{node.name}` ({node.type}): {message}", span=span, file=file, help=help)


def infer_shapes(graph: Graph, inputs: Mapping[str, Shape] | None = None) -> dict[Value, Shape]:
    """The shape of every value, computed from those of the graph's inputs.

    `inputs` replaces the declared shapes, by blob name. Values whose shape the model does not say, and
    those computed from them, are not in the result. Raises `DiagnosticError` (AM320) with one
    diagnostic for each layer whose parameters do not fit; layers behind such a one are left alone.
    """
    replaced = inputs or {}
    given = {v: replaced[v.blob] for n in graph.nodes if op_def(n).source for v in n.outputs if v.blob in replaced}
    return infer_nodes(graph.nodes, given)


def infer_nodes(nodes: Iterable[Node], known: Mapping[Value, Shape]) -> dict[Value, Shape]:
    """The shapes of what some nodes (in order) compute from values of `known` shapes, and those shapes.

    A node whose outputs are all known is not asked. Raises as `infer_shapes` does.
    """
    shapes = dict(known)
    collector = Collector()
    for node in nodes:
        if all(value in shapes for value in node.outputs) and node.outputs:
            continue
        inputs = [shapes[value] for value in node.inputs if value in shapes]
        if len(inputs) != len(node.inputs):
            continue
        try:
            found = op_def(node).infer(node, tuple(inputs))
        except OpError as mistake:
            collector.add(node_error("AM320", node, str(mistake)))
            continue
        except UnknownShape:
            continue
        shapes.update({v: s for v, s in zip(node.outputs, found, strict=True) if v not in known})
    collector.raise_errors()
    return shapes


def check_weights(nodes: Iterable[Node], shapes: Mapping[Value, Shape]) -> None:
    """Raise `DiagnosticError` (AM320) for every weight that does not fit a layer whose inputs have these shapes.

    Layers with an input whose shape is not known are left alone.
    """
    collector = Collector()
    for node in nodes:
        if any(value not in shapes for value in node.inputs):
            continue
        wanted = op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs))
        for role, shape in wanted.items():
            found = node.weights[role].shape if role in node.weights else shape
            if found != shape:
                message = f"its {role} has the shape {list(found)}, and for this input must have {list(shape)}"
                collector.add(node_error("AM320", node, message))
    collector.raise_errors()


def annotate_shapes(graph: Graph, inputs: Mapping[str, Shape] | None = None) -> dict[Value, Shape]:
    """Infer shapes (see `infer_shapes`) and write them, with the element types, into the values of the graph."""
    annotate_dtypes(graph)
    shapes = infer_shapes(graph, inputs)
    for node in graph.nodes:
        for value in node.outputs:
            value.shape = shapes.get(value)
    return shapes


def annotate_dtypes(graph: Graph) -> dict[Value, str]:
    """Write the element type of every value, by the op table's rules, into the values of the graph."""
    for node in graph.nodes:
        # The rules look at the types of a node's inputs, so these are brought up to date on the way.
        for value, dtype in zip(node.outputs, op_def(node).output_dtypes(node), strict=True):
            value.dtype = dtype
    return {value: value.dtype for node in graph.nodes for value in node.outputs}


def other_batch_shapes(graph: Graph) -> dict[Value, Shape]:
    """The shapes of the values if every input of the graph held twice as many samples.

    Without what is not known, and without what no other number of samples fits: such a graph cannot run on them.
    """
    shapes: dict[Value, Shape] = {}
    for node in graph.nodes:
        row = op_def(node)
        if row.source:
            shapes |= {v: (2 * v.shape[0], *v.shape[1:]) for v in node.outputs if v.shape}
            continue
        inputs = tuple(shapes[value] for value in node.inputs if value in shapes)
        if len(inputs) != len(node.inputs):
            continue
        try:
            found = row.infer(node, inputs)
        except (OpError, UnknownShape):
            continue
        shapes.update(zip(node.outputs, found, strict=True))
    return shapes
