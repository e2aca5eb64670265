"""Where a GE node's inputs stand: the constant ones are weights by role, the others values of the graph.

GE gives a node one slot for each input that its op declares, filled or not. A constant that fills a slot becomes a
weight; its role is the slot's name, but for the weights and biases of linear ops, which have one name everywhere.
Values fill the slots that no role takes, in order; a slot that is left out before a value is in the list `absent`.

What a file says of a node beyond its attributes stands in one attribute, `air`, a dict:

- `format`, `filter_format`: the layout of the data and of the filter, where it is not NCHW;
- `slots`, `outputs`: the names of the inputs and outputs, where the op's prototype does not give them;
- `absent`: numbers of slots left out although a value comes behind them;
- `constants`: by role, the name of the Const node and what else the file says of it, in `quant` of an
  AscendWeightQuant behind it;
- `controls`: names of nodes that must run before this one;
- `shape`, `dtype`: of an input of the graph;
- `op`: what is left of the file's own message, so that it can be written again as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.text.plain import Plain

AIR = "air"
NCHW, NHWC = "NCHW", "NHWC"
WEIGHT, BIAS = "weight", "bias"

Operand: TypeAlias = "Value | str | None"
"""A value, the role of a weight, or None for an input that is left out."""

_FILTERED = ("Conv2D", "DepthwiseConv2D", "Conv2DTransposeD", "Conv2DTranspose", "Deconvolution")
_PRODUCTS = ("MatMul", "MatMulV2", "BatchMatMul", "BatchMatMulV2")
_ROLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        **{type: {"filter": WEIGHT} for type in _FILTERED},
        "FullyConnection": {"w": WEIGHT, "b": BIAS},
        **{type: {"x2": WEIGHT} for type in _PRODUCTS},
    }
)
"""Roles that stand for one thing in several ops, by type and the name of the slot."""


def about(node: Node) -> Mapping[str, Plain]:
    """What the attribute `air` says; empty where there is none."""
    found = node.attrs.get(AIR)
    return found if isinstance(found, dict) else {}


def note(node: Node, **entries: Plain | None) -> None:
    """Change entries of the attribute `air`; None takes one out."""
    changed = {**about(node), **{key: value for key, value in entries.items() if value is not None}}
    for key in [key for key, value in entries.items() if value is None]:
        changed.pop(key, None)
    if changed:
        node.attrs[AIR] = changed
    else:
        node.attrs.pop(AIR, None)


def controls(node: Node) -> tuple[str, ...]:
    """The names of the nodes that must run before this one."""
    found = about(node).get("controls", ())
    return tuple(map(str, found)) if isinstance(found, tuple) else ()


def data_format(node: Node) -> str:
    """The layout of a node's data: NCHW or NHWC."""
    return str(about(node).get("format", NCHW))


def as_nchw(node: Node, shape: Shape | None) -> Shape | None:
    """The shape of images that a node reads as [N, C, H, W], whatever their layout; any other as it is."""
    if shape is None or len(shape) != 4 or data_format(node) != NHWC:
        return shape
    return (shape[0], shape[3], shape[1], shape[2])


def filter_format(node: Node) -> str:
    """The layout of a node's filter: NCHW, HWCN, …"""
    return str(about(node).get("filter_format", NCHW))


def role_of(type: str, slot: str) -> str:
    """The role of a constant in a slot."""
    return _ROLES.get(type, {}).get(slot, slot)


def slot_of(type: str, role: str) -> str:
    """The inverse of `role_of`."""
    return next((slot for slot, known in _ROLES.get(type, {}).items() if known == role), role)


def slot_names(node: Node) -> tuple[str, ...]:
    """The names of all slots of a node, those behind the last filled one that the op declares too."""
    stated = about(node).get("slots")
    if isinstance(stated, tuple):
        return tuple(map(str, stated))
    from amctc.dialects.ge.prototype import port_names, prototype_of  # with all that GE declares

    prototype = prototype_of(node.type)
    ports = prototype.inputs if prototype is not None else ()
    filled = len(node.inputs) + len(_absent(node)) + len(node.weights)
    if any(port.dynamic for port in ports):
        return port_names(ports, filled)
    return port_names(ports, max(len(ports), filled))


def operands(node: Node) -> tuple[Operand, ...]:
    """What fills each slot, in their order."""
    names = slot_names(node)
    placed: dict[int, Operand] = dict.fromkeys(_absent(node))
    for role in node.weights:
        slot = slot_of(node.type, role)
        if slot in names:
            placed[names.index(slot)] = role
    position = 0
    for value in node.inputs:
        while position in placed:
            position += 1
        placed[position] = value
    return tuple(placed.get(position) for position in range(max([len(names), *(at + 1 for at in placed)])))


def operand(node: Node, slot: str) -> Operand:
    """What fills the slot of a name; None where nothing does."""
    names = slot_names(node)
    found = operands(node)
    return found[names.index(slot)] if slot in names and names.index(slot) < len(found) else None


def _absent(node: Node) -> tuple[int, ...]:
    found = about(node).get("absent", ())
    return tuple(item for item in found if isinstance(item, int)) if isinstance(found, tuple) else ()
