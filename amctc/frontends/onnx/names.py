"""The names in a model's file: a name of its own for every node, and nodes behind those whose values they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from amctc.dialects.onnx.subgraphs import captured_names
from amctc.frontends.order import in_order

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def name_nodes(graph: GraphProto) -> None:
    """Give every node a name of its own: that of its op and its number in the file where it has none."""
    taken = {node.name for node in graph.node}
    counts: dict[str, int] = {}
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = _free(node.name or f"{node.op_type}_{number}", taken, counts)
            taken.add(node.name)
        seen.add(node.name)


def _free(wanted: str, taken: set[str], counts: dict[str, int]) -> str:
    name, count = wanted, counts.get(wanted, 0)
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    counts[wanted] = count
    return name


@dataclass(frozen=True)
class NumberedNode:
    """A node, its number in the file, and the names that it and the graphs inside it read."""

    proto: NodeProto
    number: int
    captured: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for name in (*self.proto.input, *self.captured) if name)


def ordered_nodes(graph: GraphProto) -> tuple[tuple[NumberedNode, ...], tuple[NumberedNode, ...]]:
    """The nodes, each behind those whose values it reads and else as in the file; and those that cannot stand so.

    The latter read their own values in a circle, or what comes out of one.
    """
    nodes = [NumberedNode(proto, number, captured_names(proto)) for number, proto in enumerate(graph.node)]
    producer = {name: node.number for node in nodes for name in node.proto.output if name}
    waiting = [{producer[name] for name in node.reads if name in producer} for node in nodes]
    order, circle = in_order(waiting)
    return tuple(nodes[number] for number in order), tuple(nodes[number] for number in circle)
