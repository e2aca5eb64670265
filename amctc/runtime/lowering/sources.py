"""What is fed, and what is stored in the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule


def lower_source(low: Lowering, node: Node) -> None:
    """Nothing: an input of the graph is fed."""


def lower_constant(low: Lowering, node: Node) -> None:
    """A constant that is a value."""
    low.emit("Identity", [low.constant(node.weights["value"], f"{node.name}.value")], low.name(node.output))


GE_RULES: Mapping[str, Rule] = MappingProxyType({"ge.Data": lower_source, "ge.Const": lower_constant})
"""What GE's other ops compute is written as the layer that they are like."""
