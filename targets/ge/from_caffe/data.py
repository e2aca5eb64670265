"""Inputs of the net."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.ge.slots import note
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable


def _input(c: Crossing, node: Node) -> None:
    if len(node.outputs) != 1:
        raise Unsayable("has several tops, and an input of GE has one")
    value = node.output
    made = c.graph.add(node.name, "ge.Data", (), [node.name], attrs={}, provenance=node.provenance)
    note(made, shape=value.shape if value.shape is not None else (-2,), dtype=value.dtype)
    made.output.shape, made.output.dtype = value.shape, value.dtype
    c.values[value] = made.output


DATA: Mapping[str, Rule] = MappingProxyType({"caffe.Input": _input})
