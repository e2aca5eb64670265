"""The invariants of a graph. Run after every pass; a failure is a bug of the pass, not of the user."""

from __future__ import annotations

import networkx as nx

from amctc.ir.graph import Graph
from amctc.ir.node import Node


class InvalidGraph(Exception):
    """A graph that breaks an invariant; `problems` names each one, `node` the first node that has one."""

    def __init__(self, problems: tuple[str, ...], node: str | None = None) -> None:
        self.problems = problems
        self.node = node
        super().__init__("; ".join(problems))


def verify(graph: Graph) -> None:
    """Raise `InvalidGraph` unless the graph is well formed.

    The graph has no cycle; the inputs of every node are numbered 0, 1, 2 … without a gap; every
    edge leaves an output that exists; every graph output is a value of the graph; the factors of
    an annotation belong to inputs that exist.
    """
    graph.look_anew()
    problems: list[str] = []
    try:
        nodes = graph.nodes
    except nx.NetworkXUnfeasible:
        cycle = [src for src, _, _ in nx.find_cycle(graph.topology)]
        raise InvalidGraph((f"the graph has a cycle: {' -> '.join(cycle)}",), cycle[0]) from None
    first: str | None = None
    for node in nodes:
        problems.extend(_node_problems(graph, node))
        first = first or (node.name if problems else None)
    for value in graph.outputs:
        if value.producer.name not in graph or graph.node(value.producer.name) is not value.producer:
            problems.append(f"the graph output {value.name!r} is not a value of the graph")
    if problems:
        raise InvalidGraph(tuple(problems), first)


def _node_problems(graph: Graph, node: Node) -> list[str]:
    problems: list[str] = []
    edges = graph.edges_into(node)
    if [into for into, _, _ in edges] != list(range(len(edges))):
        problems.append(f"the inputs of {node.name!r} are not numbered from 0 without a gap")
    problems.extend(
        f"{node.name!r} reads output {out} of {src!r}, which has {len(graph.node(src).outputs)}"
        for _, src, out in edges
        if out >= len(graph.node(src).outputs)
    )
    if node.quant is not None:
        problems.extend(
            f"{node.name!r} is annotated for input {q.index}, which it does not have"
            for q in node.quant.inputs
            if q.index >= len(edges)
        )
        if node.quant.state is not None and node.quant.state.index != len(edges):
            problems.append(f"the hidden state of {node.name!r} is annotated as input {node.quant.state.index}")
    return problems
