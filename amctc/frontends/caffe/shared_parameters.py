"""Layers that share a parameter by naming it: `param { name: "w" }`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from amctc.diagnostics import Diagnostic
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape


def shared_parameter_clashes(graph: Graph, shapes: Mapping[Value, Shape]) -> Iterator[Diagnostic]:
    """A diagnostic (AM317) for every parameter whose shape is not that of the layer which named it first.

    With `share_mode: PERMISSIVE` the number of elements is enough, as in Caffe. Layers of unknown shapes are not asked.
    """
    owners: dict[str, tuple[Node, Shape]] = {}
    for node in graph.nodes:
        names = parameter_names(node)
        if not names or not all(value in shapes for value in node.inputs):
            continue
        wanted = op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs))
        for (name, permissive), shape in zip(names, wanted.values(), strict=False):
            if not name:
                continue
            owner, owned = owners.setdefault(name, (node, shape))
            same = math.prod(owned) == math.prod(shape) if permissive else owned == shape
            if not same:
                message = (
                    f"shares the parameter `{name}` with `{owner.name}`, where it has the shape {list(owned)}; "
                    f"here it would be {list(shape)}"
                )
                yield node_error("AM317", node, message)


def parameter_names(node: Node) -> list[tuple[str, bool]]:
    """For each blob of a layer that its `param` messages speak of: its shared name, or "", and whether PERMISSIVE."""
    given = node.attrs.get("param", ())
    entries = given if isinstance(given, tuple) else (given,)
    return [
        (str(entry.get("name", "")), entry.get("share_mode") == "PERMISSIVE")
        if isinstance(entry, dict)
        else ("", False)
        for entry in entries
    ]
