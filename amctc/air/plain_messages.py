"""Messages of GE's files as plain values and back: attributes in the plainest form, whatever else field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from amctc.air.schema import AttrDef, new
from amctc.text.plain import Plain, Symbol

_LISTS = {
    "VT_LIST_INT": "i",
    "VT_LIST_FLOAT": "f",
    "VT_LIST_BOOL": "b",
    "VT_LIST_STRING": "s",
}
"""The lists that become tuples, and the fields that hold them."""
_TYPES = {
    "ListInt": "VT_LIST_INT",
    "ListFloat": "VT_LIST_FLOAT",
    "ListBool": "VT_LIST_BOOL",
    "ListString": "VT_LIST_STRING",
}
_SCALARS = frozenset("ifbs")


def plain_message(message: Message) -> dict[str, Plain]:
    """The fields that are set, by name: enums by name, maps and messages as dicts, repeated fields as tuples."""
    found: dict[str, Plain] = {}
    for field, value in message.ListFields():
        if _is_map(field):
            found[field.name] = {str(key): _plain_item(_map_part(field, "value"), value[key]) for key in sorted(value)}
        elif field.is_repeated:
            found[field.name] = tuple(_plain_item(field, item) for item in value)
        else:
            found[field.name] = _plain_item(field, value)
    return found


def fill_message(message: Message, plain: Mapping[str, Plain]) -> Any:
    """Set the fields of a message from what `plain_message` gave of one; the message. ValueError for what is none."""
    for name, value in plain.items():
        fields: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
        field: FieldDescriptor | None = fields.get(name)
        if field is None:
            raise ValueError(f"{message.DESCRIPTOR.name} has no field `{name}`")
        target: Any = getattr(message, name)
        if _is_map(field):
            _fill_map(field, target, value)
        elif field.message_type is not None:
            for item in value if isinstance(value, tuple) else (value,):
                inner = target.add() if field.is_repeated else target
                inner.SetInParent()
                fill_message(inner, _mapping(item))
        elif field.is_repeated:
            target.extend(_number(field, item) for item in (value if isinstance(value, tuple) else ()))
        else:
            setattr(message, name, _number(field, value))
    return message


def plain_attribute(attribute: AttrDef, type: str | None = None) -> Plain:
    """An attribute as a plain value: a number, a flag, a text or a tuple of these; any other as its message.

    `type` is what the op's prototype says it is: an empty list of such a type is an empty tuple.
    """
    kind = attribute.WhichOneof("value")
    if kind in _SCALARS:
        value: Plain = getattr(attribute, kind)
        return plain_message(attribute) if isinstance(value, bytes) and _text(value) is None else _worded(value)
    if kind == "list":
        found = _plain_list(attribute.list, type)
        if found is not None:
            return found
    return plain_message(attribute)


def attribute_message(value: Plain, type: str | None = None) -> AttrDef:
    """The inverse; a number counts as what the prototype's `type` says."""
    attribute = new("AttrDef")
    if isinstance(value, dict):
        return fill_message(attribute, value)
    if isinstance(value, tuple):
        kind = _TYPES.get(type or "") or _list_kind(value)
        attribute.list.val_type = attribute.list.ListValueType.Value(kind)
        getattr(attribute.list, _LISTS[kind]).extend(item.encode() if isinstance(item, str) else item for item in value)
    elif isinstance(value, str):
        attribute.s = value.encode()
    elif isinstance(value, bytes):
        attribute.s = value
    elif isinstance(value, bool) or type == "Bool":
        attribute.b = bool(value)
    elif isinstance(value, int) and type != "Float":
        attribute.i = value
    else:
        attribute.f = value
    return attribute


def _plain_list(values: Any, type: str | None) -> tuple[Plain, ...] | None:
    """A list of one kind, marked as such; None for any other. An empty one only where its type is known."""
    kind = values.ListValueType.Name(values.val_type) if values.val_type in values.ListValueType.values() else ""
    field = _LISTS.get(kind)
    filled = {descriptor.name for descriptor, _ in values.ListFields()} - {"val_type"}
    if field is None or filled - {field} or (not filled and _TYPES.get(type or "") != kind):
        return None
    items = tuple(getattr(values, field))
    if field == "s":
        texts = [_text(item) for item in items]
        return None if None in texts else tuple(text for text in texts if text is not None)
    return items


def _list_kind(values: tuple[Plain, ...]) -> str:
    if all(isinstance(item, bool) for item in values) and values:
        return "VT_LIST_BOOL"
    if all(isinstance(item, int) for item in values):
        return "VT_LIST_INT"
    return "VT_LIST_STRING" if all(isinstance(item, str) for item in values) else "VT_LIST_FLOAT"


def _worded(value: Plain) -> Plain:
    return value.decode() if isinstance(value, bytes) else value


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _plain_item(field: FieldDescriptor, value: Any) -> Plain:
    if field.message_type is not None:
        return plain_message(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return Symbol(known.name) if known is not None else int(value)
    found: Plain = value
    return found


def _number(field: FieldDescriptor, value: Plain) -> Any:
    if field.enum_type is not None and isinstance(value, str):
        return field.enum_type.values_by_name[value].number
    return value


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _map_part(field: FieldDescriptor, part: str) -> FieldDescriptor:
    """The field of a map's keys (`key`) or values (`value`)."""
    entry = field.message_type
    if entry is None:
        raise ValueError(f"{field.name} is no map")
    found: FieldDescriptor = entry.fields_by_name[part]
    return found


def _fill_map(field: FieldDescriptor, target: Any, value: Plain) -> None:
    of_numbers = _map_part(field, "key").cpp_type != FieldDescriptor.CPPTYPE_STRING
    values = _map_part(field, "value")
    for key, item in _mapping(value).items():
        place = int(key) if of_numbers else key
        if values.message_type is not None:
            fill_message(target[place], _mapping(item))
        else:
            target[place] = item


def _mapping(value: Plain) -> Mapping[str, Plain]:
    if not isinstance(value, dict):
        raise ValueError("a message is expected")
    return value
