"""What GE declares of its ops: inputs, outputs and attributes, from `prototypes.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from amctc.ir import Node
from amctc.text.plain import Plain


@dataclass(frozen=True)
class Port:
    """An input or output of an op: `optional` may be left out, `dynamic` stands for any number of them."""

    name: str
    types: tuple[str, ...]
    optional: bool = False
    dynamic: bool = False


@dataclass(frozen=True)
class Attribute:
    """An attribute of an op. `type` is GE's word for it: Int, Float, Bool, String, ListInt, Tensor, …"""

    name: str
    type: str
    default: Plain | None
    """None where there is none, so that the attribute must be given."""


@dataclass(frozen=True)
class Prototype:
    """What GE declares of an op."""

    type: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    attributes: Mapping[str, Attribute]


def prototype_of(type: str) -> Prototype | None:
    """The prototype of an op type; None for one that is not known here."""
    return prototypes().get(type)


@cache
def prototypes() -> Mapping[str, Prototype]:
    """Every prototype that is known here, by the op's type."""
    text = files("amctc.dialects.ge").joinpath("prototypes.toml").read_text(encoding="utf-8")
    return MappingProxyType({type: _prototype(type, entry) for type, entry in tomllib.loads(text).items()})


def port_names(ports: Sequence[Port], count: int) -> tuple[str, ...]:
    """The names of the inputs or outputs of a node that has `count` of them, a dynamic one numbered: x0, x1, …

    Those that are more than the op declares are `__input7` and so on, as GE names what has no name.
    """
    fixed = len(ports) - sum(port.dynamic for port in ports)
    names: list[str] = []
    for port in ports:
        if port.dynamic:
            names.extend(f"{port.name}{number}" for number in range(max(count - fixed, 0)))
        else:
            names.append(port.name)
    names.extend(f"__input{number}" for number in range(len(names), count))
    return tuple(names[:count])


def is_dynamic(prototype: Prototype | None, name: str) -> bool:
    """Whether a slot of that name is one of any number of like inputs: x0, x1, …"""
    ports = prototype.inputs if prototype is not None else ()
    return any(port.dynamic and name.removeprefix(port.name).isdigit() for port in ports)


def ge_attribute(node: Node, name: str) -> Plain:
    """An attribute of a node, or its default. KeyError where it has neither."""
    if name in node.attrs:
        return node.attrs[name]
    prototype = prototype_of(node.type)
    found = prototype.attributes.get(name) if prototype is not None else None
    if found is None or found.default is None:
        raise KeyError(name)
    return found.default


def _prototype(type: str, entry: Mapping[str, Any]) -> Prototype:
    attributes = {
        name: Attribute(name, given["type"], _plain(given.get("default")))
        for name, given in entry.get("attrs", {}).items()
    }
    return Prototype(
        type, tuple(map(_port, entry["inputs"])), tuple(map(_port, entry["outputs"])), MappingProxyType(attributes)
    )


def _port(text: str) -> Port:
    name, _, types = text.partition(":")
    return Port(name.rstrip("?[]"), tuple(types.split()), name.endswith("?"), name.endswith("[]"))


def _plain(value: Any) -> Plain | None:
    return tuple(value) if isinstance(value, list) else value
