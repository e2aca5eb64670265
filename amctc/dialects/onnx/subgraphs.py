"""What the graphs inside a node (If, Loop, Scan) read of the graph around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of all graphs inside them."""
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from all_nodes(inner)


def captured_names(node: NodeProto) -> tuple[str, ...]:
    """The values of the graph around it that a node's subgraphs read, each once, in the order of reading."""
    found: dict[str, None] = {}
    for graph in inner_graphs(node):
        found.update(dict.fromkeys(_free_names(graph)))
    return tuple(found)


def _free_names(graph: GraphProto) -> Iterator[str]:
    inside = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    inside |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        for name in (*node.input, *captured_names(node)):
            if name and name not in inside:
                yield name
        inside.update(node.output)
    yield from (value.name for value in graph.output if value.name not in inside)
