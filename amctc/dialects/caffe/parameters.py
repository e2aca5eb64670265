"""The parameters of a Caffe layer, described: for listings and the reference."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor

from amctc.dialects.caffe.schema import LAYER, caffe_schema

_KINDS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
}


@dataclass(frozen=True)
class Parameter:
    """One field of a layer's message; `default` is written as in a prototxt, "" where there is none."""

    name: str
    type: str
    repeated: bool
    default: str

    def __str__(self) -> str:
        if self.repeated:
            return f"{self.name}[]"
        return f"{self.name}={self.default}" if self.default else self.name


def parameters_of(field: str) -> tuple[Parameter, ...]:
    """The parameters in one field of `LayerParameter`, such as `convolution_param`. KeyError for no such field."""
    message = caffe_schema().descriptor(LAYER).fields_by_name[field].message_type
    if message is None:
        raise KeyError(field)
    return tuple(Parameter(f.name, _kind(f), f.is_repeated, _default(f)) for f in message.fields)


def _kind(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return str(field.message_type.name)
    if field.enum_type is not None:
        return " or ".join(value.name for value in field.enum_type.values)
    return _KINDS[field.type]


def _default(field: FieldDescriptor) -> str:
    if not field.has_default_value:
        return ""
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[field.default_value].name)
    if isinstance(field.default_value, bool):
        return str(field.default_value).lower()
    return f"{field.default_value:g}" if isinstance(field.default_value, float) else str(field.default_value)
