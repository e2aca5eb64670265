"""A network without its float tail: what stands behind the last quantized layers, such as the decoding of boxes."""

from __future__ import annotations

from amctc.ir import Graph, Node, Value


def outputs_without_tail(graph: Graph) -> list[Value]:
    """The outputs of the network if nothing is computed behind its last quantized layers.

    They are the values, in the order of the graph, that the tail is computed from, and the outputs that are none of
    its own. The tail is what depends on quantized layers, and what no quantized layer depends on.
    """
    tail = _tail(graph)
    wanted = set(graph.outputs)
    for node in tail:
        wanted.update(node.inputs)
    return [value for node in graph.nodes if node not in tail for value in node.outputs if value in wanted]


def _tail(graph: Graph) -> set[Node]:
    leads_on: set[Node] = set()
    for node in reversed(graph.nodes):
        readers = (use.node for value in node.outputs for use in graph.uses(value))
        if any(reader in leads_on or reader.quant is not None for reader in readers):
            leads_on.add(node)
    behind: set[Node] = set()
    for node in graph.nodes:
        if any(value.producer in behind or value.producer.quant is not None for value in node.inputs):
            behind.add(node)
    return {node for node in behind - leads_on if node.quant is None and node.dialect != "quant"}
