"""Attributes of a GE node by their types, with the defaults of its prototype."""

from __future__ import annotations

from amctc.air.data_types import CPP_NAMES, NUMPY_TYPES, UNDEFINED
from amctc.dialects.ge.prototype import ge_attribute
from amctc.dialects.op import OpError
from amctc.ir import Node
from amctc.text.plain import Plain


def ints(node: Node, name: str, count: int | None = None) -> tuple[int, ...]:
    """A ListInt. Raises `OpError` where it is missing, something else, or not of so many numbers."""
    found = _found(node, name)
    if not isinstance(found, tuple) or not all(isinstance(item, int) for item in found):
        raise OpError(f"`{name}` must be a list of whole numbers")
    if count is not None and len(found) != count:
        raise OpError(f"`{name}` must have {count} numbers, not {len(found)}")
    return tuple(item for item in found if isinstance(item, int))


def floats(node: Node, name: str) -> tuple[float, ...]:
    """A ListFloat. Raises `OpError` where it is missing or something else."""
    found = _found(node, name)
    if not isinstance(found, tuple) or not all(isinstance(item, int | float) for item in found):
        raise OpError(f"`{name}` must be a list of numbers")
    return tuple(float(item) for item in found if isinstance(item, int | float))


def whole(node: Node, name: str) -> int:
    """An Int. Raises `OpError` where it is missing or something else."""
    found = _found(node, name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise OpError(f"`{name}` must be a whole number")
    return found


def number(node: Node, name: str) -> float:
    """A Float. Raises `OpError` where it is missing or something else."""
    found = _found(node, name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise OpError(f"`{name}` must be a number")
    return float(found)


def flag(node: Node, name: str) -> bool:
    """A Bool. Raises `OpError` where it is missing or something else."""
    found = _found(node, name)
    if not isinstance(found, bool | int):
        raise OpError(f"`{name}` must be true or false")
    return bool(found)


def word(node: Node, name: str) -> str:
    """A String. Raises `OpError` where it is missing or something else."""
    found = _found(node, name)
    if not isinstance(found, str):
        raise OpError(f"`{name}` must be a text")
    return str(found)


def _found(node: Node, name: str) -> Plain:
    try:
        return ge_attribute(node, name)
    except KeyError:
        raise OpError(f"has no `{name}`, which must be given") from None


def element_type(node: Node, name: str) -> str:
    """An element type, by numpy's name: an Int or a Type, which both hold numbers of C++'s `ge::DataType`.

    Raises `OpError` where it is missing, or one that numpy does not have.
    """
    found = _found(node, name)
    number = found.get("dt") if isinstance(found, dict) else found
    kind = CPP_NAMES.get(number, UNDEFINED) if isinstance(number, int) else number
    if not isinstance(kind, str) or kind not in NUMPY_TYPES:
        raise OpError(f"`{name}` must be an element type, and {number!r} is none that is supported")
    return NUMPY_TYPES[kind]
