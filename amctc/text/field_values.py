"""Scalars of a text tree as values of fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from amctc.text.checked import ScalarValue
from amctc.text.literals import as_float32
from amctc.text.prototext_tree import TextScalar

ReadValue: TypeAlias = Callable[[TextScalar], ScalarValue | None]
"""The value of a scalar in the type of a field; None where it has none."""

INTEGER_RANGES: Final[Mapping[int, tuple[int, int, str]]] = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1, "int32"),
        FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1, "int64"),
        FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1, "uint32"),
        FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1, "uint64"),
    }
)
"""By the `cpp_type` of a field: the least and the greatest number, and the name of the type."""

_TRUE = ("true", "True", "t")
_FALSE = ("false", "False", "f")


def value_reader(field: FieldDescriptor) -> ReadValue:
    """What reads the scalars of a field that is neither a message nor of an enum."""
    kind = field.cpp_type
    if kind in INTEGER_RANGES:
        low, high, _ = INTEGER_RANGES[kind]
        return partial(_integer, low, high)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _truth
    if kind == FieldDescriptor.CPPTYPE_FLOAT:
        return _single
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return _double
    return _data if field.type == FieldDescriptor.TYPE_BYTES else _text


def _integer(low: int, high: int, scalar: TextScalar) -> int | None:
    value = scalar.value
    return value if isinstance(value, int) and low <= value <= high else None


def _truth(scalar: TextScalar) -> bool | None:
    value = scalar.value
    if scalar.kind == "int" and value in (0, 1):
        return value == 1
    if scalar.kind == "identifier" and value in _TRUE + _FALSE:
        return value in _TRUE
    return None


def _single(scalar: TextScalar) -> float | None:
    value = scalar.value
    if not isinstance(value, int | float):
        return None
    try:
        return as_float32(float(value))
    except OverflowError:
        return None


def _double(scalar: TextScalar) -> float | None:
    value = scalar.value
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _data(scalar: TextScalar) -> bytes | None:
    return scalar.value if isinstance(scalar.value, bytes) else None


def _text(scalar: TextScalar) -> str | None:
    if not isinstance(scalar.value, bytes):
        return None
    try:
        return scalar.value.decode()
    except UnicodeDecodeError:
        return None
