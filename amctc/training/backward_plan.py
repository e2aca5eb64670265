"""Through which layers and inputs gradients go, as Caffe finds it out before a network runs."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import node_error
from amctc.ir import Graph, Node, Value


@dataclass(frozen=True)
class BackwardPlan:
    """`stopped` are the inputs, by node and number, at which a gradient ends though something trains before it.

    `active` are the nodes through which some gradient goes: something trains in or before them, and a loss lies behind.
    """

    stopped: frozenset[tuple[Node, int]]
    active: frozenset[Node]


def backward_plan(graph: Graph, trained: Set[str], losses: Set[Value]) -> BackwardPlan:
    """The plan of a graph; `trained` are the layers with parameters that learn, `losses` the values that count as loss.

    Source: Caffe's Net::Init. Raises `DiagnosticError` (AM905) for a `propagate_down` that does not fit its layer.
    """
    stopped = {
        (node, index) for node in graph.nodes for index, through in enumerate(_propagate_down(node)) if not through
    }
    reached: set[Value] = set()
    training: set[Node] = set()
    for node in graph.nodes:
        onward = (value in reached and (node, index) not in stopped for index, value in enumerate(node.inputs))
        if node.name in trained or any(onward):
            training.add(node)
            reached.update(node.outputs)
    under: set[Value] = set(losses)
    active: set[Node] = set()
    for node in reversed(graph.nodes):
        if node in training and any(value in under for value in node.outputs):
            active.add(node)
            under.update(value for index, value in enumerate(node.inputs) if (node, index) not in stopped)
    return BackwardPlan(frozenset(stopped), frozenset(active))


def _propagate_down(node: Node) -> tuple[bool, ...]:
    """What `propagate_down` says of each input; nothing where it is not given."""
    given = node.attrs.get("propagate_down", ())
    said = given if isinstance(given, tuple) else (given,)
    if said and len(said) != len(node.inputs):
        message = f"has {len(said)} `propagate_down` for {len(node.inputs)} bottoms; give none, or one for each"
        raise DiagnosticError(node_error("AM905", node, message))
    return tuple(bool(flag) for flag in said)
