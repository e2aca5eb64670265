"""Whether the nodes of a graph are what the op table says of their ops."""

from __future__ import annotations

from collections.abc import Iterator

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.ir.verify import InvalidGraph, verify


def verify_ops(graph: Graph) -> None:
    """Raise `InvalidGraph` unless the graph is well formed and each node has an op with so many inputs and outputs."""
    verify(graph)
    problems = [(problem, node.name) for node in graph.nodes for problem in _problems(node)]
    if problems:
        raise InvalidGraph(tuple(problem for problem, _ in problems), problems[0][1])


def _problems(node: Node) -> Iterator[str]:
    try:
        row = op_def(node)
    except KeyError:
        yield f"{node.name!r} has the op {node.op}, which there is not"
        return
    inputs = len(node.inputs)
    if not row.inputs.allows(inputs):
        yield f"{node.name!r} has {inputs} inputs, and {node.op} takes {row.inputs}"
    if not row.outputs.allows(len(node.outputs)):
        yield f"{node.name!r} has {len(node.outputs)} outputs, and {node.op} has {row.outputs}"
