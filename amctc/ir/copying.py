"""A second graph of the same layers."""

from __future__ import annotations

from amctc.ir.graph import Graph


def copy_graph(graph: Graph) -> Graph:
    """A graph with the same layers, to give its layers other weights and annotations: the arrays are not copied."""
    copy = Graph(graph.name)
    copy.attrs = dict(graph.attrs)
    for node in graph.nodes:
        made = copy.add(
            node.name,
            node.op,
            [copy.node(value.producer.name).outputs[value.index] for value in node.inputs],
            [value.blob for value in node.outputs],
            attrs=node.attrs,
            weights=node.weights,
            provenance=node.provenance,
        )
        made.quant = node.quant
        for value, given in zip(made.outputs, node.outputs, strict=True):
            value.dtype, value.shape = given.dtype, given.shape
    copy.outputs = [copy.node(value.producer.name).outputs[value.index] for value in graph.outputs]
    return copy
