"""Control edges: which ops of a graph must run before which others."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from amctc.dialects.ge.slots import controls
from amctc.ir import Graph


def controls_of(graph: Graph, constants: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """By name of a node, what it must wait for, of the nodes that are left and of `constants`, names of Const ops.

    Where a node has become part of another, that one is waited for.
    """
    stated = {node.name: sources for node in graph.nodes if (sources := controls(node))}
    if not stated:
        return {}
    takers = {name: node.name for node in graph.nodes for name in node.provenance.absorbed}
    found: dict[str, tuple[str, ...]] = {}
    for name, sources in stated.items():
        now = [each if each in graph or each in constants else takers.get(each) for each in sources]
        found[name] = tuple(dict.fromkeys(each for each in now if each is not None and each != name))
    return found
