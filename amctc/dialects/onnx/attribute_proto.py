"""ONNX's attributes as plain values, and back.

Numbers, texts and lists of them are plain values. What these cannot say (tensors, graphs, empty lists, bytes that
are no text) is the serialized `AttributeProto`, as `bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amctc.dialects.onnx.operands import OWN_ATTRIBUTES
from amctc.ir import Node
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import AttributeProto

_FLOAT, _INT, _STRING, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 6, 7, 8
"""Numbers of AttributeProto.AttributeType."""


def plain_attribute(attribute: AttributeProto) -> Plain:
    """The value of an attribute."""
    found: Plain | None = None
    match attribute.type:
        case 1:
            found = attribute.f
        case 2:
            found = attribute.i
        case 3:
            found = _text(attribute.s)
        case 6:
            found = tuple(attribute.floats) or None
        case 7:
            found = tuple(attribute.ints) or None
        case 8:
            texts = tuple(_text(item) for item in attribute.strings)
            found = None if not texts or None in texts else tuple(text for text in texts if text is not None)
        case _:
            found = None
    return attribute.SerializeToString(deterministic=True) if found is None else found


def attribute_protos(attrs: Mapping[str, Plain]) -> list[AttributeProto]:
    """ONNX's attributes from plain values; those of our own nodes alone are left out."""
    return [_proto(name, value) for name, value in attrs.items() if name not in OWN_ATTRIBUTES]


def node_attribute(node: Node, name: str, default: Any) -> Any:
    """An attribute of a node, or `default` where the file leaves it out."""
    found = node.attrs.get(name)
    if found is None or isinstance(found, bytes):
        return default
    return found


def _proto(name: str, value: Plain) -> AttributeProto:
    from onnx import AttributeProto

    proto = AttributeProto()
    if isinstance(value, bytes):
        proto.ParseFromString(value)
        return proto
    proto.name = name
    items = value if isinstance(value, tuple) else (value,)
    first = items[0]
    if isinstance(first, str):
        texts = [str(item).encode() for item in items]
        _fill(proto, value, _STRINGS, _STRING, "strings", "s", texts)
    elif isinstance(first, float):
        _fill(proto, value, _FLOATS, _FLOAT, "floats", "f", items)
    elif isinstance(first, int):
        _fill(proto, value, _INTS, _INT, "ints", "i", [int(item) for item in items if isinstance(item, int)])
    else:
        raise ValueError(f"the attribute {name!r} has no ONNX form")
    return proto


def _fill(proto: Any, value: Plain, many: int, one: int, list_field: str, field: str, items: Any) -> None:
    if isinstance(value, tuple):
        proto.type = many
        getattr(proto, list_field).extend(items)
    else:
        proto.type = one
        setattr(proto, field, items[0])


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
