"""What a node says of itself: one of its attributes by name, with the defaults of its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.schema import LAYER, caffe_schema
from amctc.dialects.op import OpDef
from amctc.dialects.table import op_table
from amctc.ir import Node
from amctc.text.plain import Plain, Symbol

PROPERTIES: Mapping[str, Callable[[Node], int | None]] = MappingProxyType(
    {
        "rank": lambda node: len(node.output.shape) if node.outputs and node.output.shape is not None else None,
        "inputs": lambda node: len(node.inputs),
        "outputs": lambda node: len(node.outputs),
    }
)
"""What every node has: the number of axes of its first output (None: unknown), of its inputs and of its outputs."""


def attribute(node: Node, name: str) -> Plain | None:
    """The attribute of a node; None where it has none of that name, or an unset one without a default.

    Of a Caffe layer `power` is a field of its own parameters, and `power_param.power` names the message, too;
    defaults are those of the schema, an enum is a word, a repeated field a tuple. What our schema does not know,
    and every attribute of another dialect, is what `node.attrs` holds. Raises `OpError` where the parameters do
    not fit the schema.
    """
    path = name.split(".")
    row = op_table().get(node.op)
    if row is None or row.dialect != "caffe" or row.parameter is None:
        return _plain_field(node.attrs, path)
    if path[0] in own_fields(row):
        path.insert(0, row.parameter)
    if len(path) > 1 and path[0] in (row.parameter, *node.attrs) and _message_of(path[0]) is not None:
        return _field(params(node, path[0]), path[1:], node.attrs.get(path[0]))
    if path[0] in node.attrs:
        return _plain_field(node.attrs, path)
    return _plain_field(node.attrs.get(row.parameter), path)


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
        return _plain_field(given, path)
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


def _plain_field(given: Plain | None, path: Sequence[str]) -> Plain | None:
    for name in path:
        if not isinstance(given, Mapping):
            return None
        given = given.get(name)
    return given
