"""The fields of a layer's parameters by name, with the defaults of Caffe's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from amctc.dialects.attributes import plain_field
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.schema import LAYER, caffe_schema
from amctc.dialects.op import OpDef
from amctc.ir import Node
from amctc.text.plain import Plain, Symbol


def layer_attribute(node: Node, row: OpDef, names: Sequence[str]) -> Plain | None:
    """`amctc.dialects.attributes.attribute` of a layer with parameters of its own; `names` are the path."""
    path, own = list(names), str(row.parameter)
    if path[0] in own_fields(row):
        path.insert(0, own)
    if len(path) > 1 and path[0] in (own, *node.attrs) and _message_of(path[0]) is not None:
        return _field(params(node, path[0]), path[1:], node.attrs.get(path[0]))
    if path[0] in node.attrs:
        return plain_field(node.attrs, path)
    return plain_field(node.attrs.get(own), path)


def own_fields(row: OpDef) -> Mapping[str, FieldDescriptor]:
    """The fields of the message that holds an op's own parameters; none for an op without such a message."""
    message = _message_of(row.parameter) if row.dialect == "caffe" and row.parameter is not None else None
    return MappingProxyType({}) if message is None else message.fields_by_name


def _message_of(field: str) -> Descriptor | None:
    found = caffe_schema().descriptor(LAYER).fields_by_name.get(field)
    return None if found is None or found.is_repeated else found.message_type


def _field(message: Any, path: Sequence[str], given: Plain | None) -> Plain | None:
    """The field of a live message; `given` is the plain value that it was made from."""
    field: FieldDescriptor | None = message.DESCRIPTOR.fields_by_name.get(path[0])
    if field is None:
        return plain_field(given, path)
    if field.is_repeated:
        values = getattr(message, field.name)
        return tuple(_scalar(field, value) for value in values) if values and field.message_type is None else None
    if field.message_type is not None:
        inner = given.get(field.name) if isinstance(given, Mapping) else None
        return _field(getattr(message, field.name), path[1:], inner) if len(path) > 1 else None
    if len(path) > 1 or not (message.HasField(field.name) or field.has_default_value):
        return None
    return _scalar(field, getattr(message, field.name))


def _scalar(field: FieldDescriptor, value: Any) -> Plain:
    return Symbol(field.enum_type.values_by_number[value].name) if field.enum_type is not None else value
