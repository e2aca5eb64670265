"""ONNX's numbers of element types and numpy's names for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OPAQUE = "opaque"
"""What stands for values that are no tensors: sequences, maps and optional values."""

ONNX_TYPES: Mapping[str, int] = MappingProxyType(
    {
        "float32": 1,
        "uint8": 2,
        "int8": 3,
        "uint16": 4,
        "int16": 5,
        "int32": 6,
        "int64": 7,
        "string": 8,
        "bool": 9,
        "float16": 10,
        "float64": 11,
        "uint32": 12,
        "uint64": 13,
        "complex64": 14,
        "complex128": 15,
        "bfloat16": 16,
        "float8e4m3fn": 17,
        "float8e4m3fnuz": 18,
        "float8e5m2": 19,
        "float8e5m2fnuz": 20,
        "uint4": 21,
        "int4": 22,
        "float4e2m1": 23,
        "float8e8m0": 24,
        "uint2": 25,
        "int2": 26,
    }
)
"""numpy's names of element types, and ONNX's where numpy has none, to the numbers of onnx.TensorProto.DataType."""

NAMES: Mapping[int, str] = MappingProxyType({number: name for name, number in ONNX_TYPES.items()})


def type_name(number: int) -> str:
    """The name of an element type; `opaque` for a number that is none."""
    return NAMES.get(number, OPAQUE)
