"""The graphs of a model: the first is the root, ops name the others."""

from __future__ import annotations

from amctc.air.schema import ModelDef
from amctc.air.verify.edges import find_cycle
from amctc.air.verify.report import Report, shown


def check_subgraphs(model: ModelDef, report: Report) -> None:
    """AM384: names that no graph has or several have, graphs that nothing names, and such as hold themselves."""
    numbers: dict[str, int] = {}
    for number, graph in enumerate(model.graph):
        if graph.name in numbers:
            report.error("AM384", f"two graphs have the name {shown(graph.name)}", "loaders keep one of them")
        numbers.setdefault(graph.name, number)
    edges: list[list[int]] = [[] for _ in model.graph]
    for number, graph in enumerate(model.graph):
        for op in graph.op:
            for name in op.subgraph_name:
                inner = numbers.get(name)
                if inner is None or not name:
                    help = "the loader of 2021 refuses it; subgraphs stand behind the root in the list of graphs"
                    report.error("AM384", f"{shown(op.name)} has the subgraph {shown(name)}, which there is not", help)
                else:
                    edges[number].append(inner)
    named = {inner for inners in edges for inner in inners}
    for number in range(1, len(model.graph)):
        if number not in named:
            name = shown(model.graph[number].name)
            report.error("AM384", f"no op has the subgraph {name}", "loaders drop a graph that nothing names")
    cycle = find_cycle(edges)
    if cycle is not None:
        told = ", ".join(shown(model.graph[number].name) for number in cycle[:4])
        report.error("AM384", f"a graph is its own subgraph: {told}", "loaders would not come to an end")
    elif 0 in named:
        report.error("AM384", "the first graph is a subgraph", "the first graph is the root of all others")
