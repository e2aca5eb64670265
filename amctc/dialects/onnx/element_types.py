"""ONNX's numbers of element types and numpy's names for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

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
        "float8_e4m3fn": 17,
        "float8_e4m3fnuz": 18,
        "float8_e5m2": 19,
        "float8_e5m2fnuz": 20,
        "uint4": 21,
        "int4": 22,
        "float4_e2m1fn": 23,
        "float8_e8m0fnu": 24,
        "uint2": 25,
        "int2": 26,
    }
)
"""numpy's names of element types (those of `ml_dtypes` included) to the numbers of onnx.TensorProto.DataType."""

NAMES: Mapping[int, str] = MappingProxyType({number: name for name, number in ONNX_TYPES.items()})


def type_name(number: int) -> str:
    """The name of an element type; `opaque` for a number that is none."""
    return NAMES.get(number, OPAQUE)


def numpy_type(name: str) -> np.dtype[Any]:
    """numpy's element type of that name, or the one that `ml_dtypes` adds. KeyError for texts and unknown names."""
    if name == "string":
        raise KeyError(name)
    if name in _OF_NUMPY:
        return np.dtype(name)
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(ONNX_TYPES[name]))


_OF_NUMPY = frozenset({"bool", "float16", "float32", "float64", "complex64", "complex128"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}

CARRIERS: Mapping[str, str] = MappingProxyType(
    {
        "int4": "int8",
        "uint4": "uint8",
        "int2": "int8",
        "uint2": "uint8",
        "bfloat16": "float32",
        "float8_e4m3fn": "float32",
        "float8_e4m3fnuz": "float32",
        "float8_e5m2": "float32",
        "float8_e5m2fnuz": "float32",
        "float8_e8m0fnu": "float32",
        "float4_e2m1fn": "float32",
    }
)
"""Element types that ONNX Runtime takes from no array, and one that holds all their numbers, which it does."""
