"""What GE's prototypes say of an op: for listings and the reference."""

from __future__ import annotations

from collections.abc import Sequence

from amctc.dialects.caffe.parameters import Parameter
from amctc.dialects.ge.prototype import Attribute, Port, prototype_of
from amctc.dialects.op import Arity


def attributes_of(type: str) -> tuple[Parameter, ...]:
    """The attributes of an op; none for an op that has no prototype here."""
    prototype = prototype_of(type)
    return () if prototype is None else tuple(map(_parameter, prototype.attributes.values()))


def ports_of(type: str) -> tuple[Arity, Arity] | None:
    """How many inputs, constant ones included, and outputs an op takes; None for one that has no prototype here."""
    prototype = prototype_of(type)
    return None if prototype is None else (_arity(prototype.inputs), _arity(prototype.outputs))


def _arity(ports: Sequence[Port]) -> Arity:
    least = sum(not (port.optional or port.dynamic) for port in ports)
    return Arity(least, None if any(port.dynamic for port in ports) else len(ports))


def _parameter(attribute: Attribute) -> Parameter:
    kind = attribute.type.removeprefix("List")
    return Parameter(attribute.name, kind.lower(), attribute.type != kind, _default(attribute))


def _default(attribute: Attribute) -> str:
    """The default as text; "" where there is none."""
    value = attribute.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
