"""A layer's own parameters as a live protobuf message, so that every default comes from `caffe.proto`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from amctc.dialects.caffe.schema import LAYER, caffe_schema
from amctc.dialects.op import OpError
from amctc.ir import Node
from amctc.text.plain import Plain


def params(node: Node, field: str) -> Any:
    """The message in `field` (such as `convolution_param`) of the node's layer, defaults included.

    Built anew from `node.attrs` at every call, because a pass may change them. Fields that the
    schema does not know are left out. Raises `OpError` where a value does not fit its field, KeyError
    for a `field` that no Caffe layer has.
    """
    message = _message_class(field)()
    given = node.attrs.get(field)
    if given is None:
        return message
    if not isinstance(given, Mapping):
        raise OpError(f"`{field}` must be a message")
    _fill(message, given)
    return message


def with_params(node: Node, field: str, **values: Plain) -> None:
    """Set fields of the layer's own parameters; the dict is replaced, as another node may share it."""
    given = node.attrs.get(field)
    old: Mapping[str, Plain] = given if isinstance(given, dict) else {}
    node.attrs[field] = {**old, **values}


@cache
def _message_class(field: str) -> type[Message]:
    schema = caffe_schema()
    own = schema.descriptor(LAYER).fields_by_name[field].message_type
    if own is None:
        raise KeyError(field)
    return schema.message(own.full_name)


def _fill(message: Any, given: Mapping[str, Plain]) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            continue
        try:
            _set(message, field, value)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise OpError(f"`{name}` cannot be {value!r}") from None


def _set(message: Any, field: FieldDescriptor, value: Plain) -> None:
    if field.is_repeated:
        items = value if isinstance(value, tuple) else (value,)
        target = getattr(message, field.name)
        for item in items:
            if field.message_type is not None:
                _fill(target.add(), _mapping(item))
            else:
                target.append(_scalar(field, item))
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _fill(inner, _mapping(value))
    else:
        setattr(message, field.name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Plain) -> Plain:
    if field.enum_type is not None and isinstance(value, str):
        number: int = field.enum_type.values_by_name[value].number
        return number
    return value


def _mapping(value: Plain) -> Mapping[str, Plain]:
    if not isinstance(value, dict):
        raise TypeError("a message is expected")
    return value
