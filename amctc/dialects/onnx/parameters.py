"""What ONNX's own description of an op says of it: for listings and the reference."""

from __future__ import annotations

from typing import Any

from amctc.dialects.caffe.parameters import Parameter
from amctc.dialects.onnx.operands import schema_of
from amctc.dialects.op import Arity

_INT_MAX = 2**31 - 1
"""What ONNX has for any number of inputs."""


def attributes_of(type: str) -> tuple[Parameter, ...]:
    """The attributes of an op in its newest version; none for an op that ONNX does not describe."""
    schema = schema_of(type)
    if schema is None:
        return ()
    return tuple(_parameter(schema.attributes[name]) for name in sorted(schema.attributes))


def operands_of(type: str) -> tuple[Arity, Arity] | None:
    """How many inputs, constant ones included, and outputs an op takes in its newest version."""
    schema = schema_of(type)
    if schema is None:
        return None
    return _arity(schema.min_input, schema.max_input), _arity(schema.min_output, schema.max_output)


def _arity(least: int, most: int) -> Arity:
    return Arity(least, None if most >= _INT_MAX else most)


def _parameter(attribute: Any) -> Parameter:
    kind = attribute.type.name.lower()
    return Parameter(attribute.name, kind.removesuffix("s"), kind.endswith("s"), _default(attribute.default_value))


def _default(proto: Any) -> str:
    """The default as text; "" where there is none."""
    from onnx import AttributeProto, helper

    if proto.type == AttributeProto.UNDEFINED:
        return ""
    value = helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    return f"{value:g}" if isinstance(value, float) else str(value)
