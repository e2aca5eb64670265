"""Where an ONNX node's inputs stand: the constant ones are weights by role, the others values of the graph.

`role_at` says what role a constant at some position of the ONNX node has; `operands` puts constants and values
back into their positions. Values fill the positions that no role takes, in order; an optional input that is left
out before a value is named by the attribute `absent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from amctc.dialects.onnx.library import onnx_errors
from amctc.ir import Node, Value

if TYPE_CHECKING:
    from onnx.defs import OpSchema

ABSENT = "absent"
"""The attribute that lists positions of optional inputs that are left out although a value comes behind them."""
CAPTURES = "captures"
"""The attribute that lists the names of outer values which the node's subgraphs read: its last operands."""
INITIALIZERS = "initializers"
"""The attribute that has, by role, the names under which the file stores the node's weights."""
RESULTS = "result_types"
"""The attribute that has the element types of the outputs, where the node alone does not tell them."""
GRIDS = "grids"
"""The attribute that has the grids of a recurrent layer that quantizes inside."""
OWN_ATTRIBUTES = frozenset({ABSENT, CAPTURES, INITIALIZERS, RESULTS, GRIDS})
"""Attributes of our nodes that are none of the ONNX node's."""

Operand: TypeAlias = "Value | str | None"
"""A value, the role of a weight, or None for an optional input that is left out."""

_LINEAR = ("data", "weight", "bias")
_NAMED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Conv": _LINEAR,
        "ConvTranspose": _LINEAR,
        "Gemm": _LINEAR,
        "MatMul": _LINEAR[:2],
        "BatchNormalization": ("data", "scale", "bias", "mean", "variance"),
    }
)
"""Roles that stand for one thing in several ops; for all others the schema's own names are taken."""


def split_type(type: str) -> tuple[str, str]:
    """(domain, op type) of a node's type: `Conv` is of the standard domain, `com.microsoft.Gelu` of that one."""
    domain, _, name = type.rpartition(".")
    return domain, name


def joined_type(domain: str, name: str) -> str:
    """The inverse of `split_type`; the standard domain has two names."""
    return name if domain in ("", "ai.onnx") else f"{domain}.{name}"


@lru_cache(maxsize=4096)
def schema_of(type: str, version: int | None = None) -> OpSchema | None:
    """ONNX's own description of an op, the newest or that of an opset version; None where there is none."""
    from onnx import defs

    domain, name = split_type(type)
    try:
        return defs.get_schema(name, domain) if version is None else defs.get_schema(name, version, domain)
    except onnx_errors():
        return None


def role_at(type: str, position: int) -> str:
    """The role of a constant that is input number `position` of an op."""
    single, rest = _roles(type)
    if position < len(single):
        return single[position]
    return f"{rest}_{position - len(single)}"


def position_of(type: str, role: str) -> int | None:
    """The inverse of `role_at`; None for what is no role of an input."""
    single, rest = _roles(type)
    if role in single:
        return single.index(role)
    stem, _, number = role.rpartition("_")
    return len(single) + int(number) if stem == rest and number.isdecimal() else None


@lru_cache(maxsize=4096)
def _roles(type: str) -> tuple[tuple[str, ...], str]:
    """The roles of the first inputs, and the word that the others are numbered with."""
    domain, name = split_type(type)
    if not domain and name in _NAMED:
        return _NAMED[name], "input"
    schema = schema_of(type)
    if schema is None:
        return (), "input"
    from onnx.defs import OpSchema as Schema

    names = [formal.name for formal in schema.inputs]
    if schema.inputs and schema.inputs[-1].option == Schema.FormalParameterOption.Variadic:
        return tuple(names[:-1]), names[-1]
    return tuple(names), "input"


def operands(node: Node) -> tuple[Operand, ...]:
    """The node's operands in ONNX's order, without those that its subgraphs read."""
    captured = captured_values(node)
    inputs = node.inputs
    values = list(inputs[: len(inputs) - sum(isinstance(operand, Value) for operand in captured)])
    placed: dict[int, Operand] = {}
    for role in node.weights:
        position = position_of(node.type, role)
        if position is not None:
            placed[position] = role
    for position in _positions(node, ABSENT):
        placed.setdefault(position, None)
    position = 0
    for value in values:
        while position in placed:
            position += 1
        placed[position] = value
    last = max((position for position, operand in placed.items() if operand is not None), default=-1)
    return tuple(placed.get(position) for position in range(last + 1))


def captured_values(node: Node) -> tuple[Operand, ...]:
    """What the node's subgraphs read of the graph around them, in the order of the attribute `captures`."""
    names = node.attrs.get(CAPTURES, ())
    count = len(names) if isinstance(names, tuple) else 0
    roles = [capture_role(index) for index in range(count)]
    inputs = node.inputs
    values = iter(inputs[len(inputs) - sum(role not in node.weights for role in roles) :])
    return tuple(role if role in node.weights else next(values) for role in roles)


def capture_role(index: int) -> str:
    """The role of a constant that a subgraph reads."""
    return f"captured_{index}"


def _positions(node: Node, attribute: str) -> tuple[int, ...]:
    found = node.attrs.get(attribute, ())
    return tuple(item for item in found if isinstance(item, int)) if isinstance(found, tuple) else ()
