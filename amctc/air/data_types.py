"""The two numberings of element types.

`TensorDescriptor.dtype` has the numbers of `ge.proto.DataType`, which are in the schema. Attributes (`dtype`,
`dst_type`, `data_type`, and all of the kind `dt`) have those of the C++ enum `ge::DataType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

UNDEFINED = "DT_UNDEFINED"

NUMPY_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "DT_FLOAT": "float32",
        "DT_FLOAT16": "float16",
        "DT_INT8": "int8",
        "DT_UINT8": "uint8",
        "DT_INT16": "int16",
        "DT_UINT16": "uint16",
        "DT_INT32": "int32",
        "DT_INT64": "int64",
        "DT_UINT32": "uint32",
        "DT_UINT64": "uint64",
        "DT_BOOL": "bool",
        "DT_DOUBLE": "float64",
        "DT_COMPLEX64": "complex64",
        "DT_COMPLEX128": "complex128",
    }
)
"""The numpy type of each element type that numpy has, by its name in `ge.proto.DataType`."""

GE_TYPES: Mapping[str, str] = MappingProxyType({numpy: ge for ge, numpy in NUMPY_TYPES.items()})
"""The inverse."""

CPP_NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        "DT_FLOAT": 0,
        "DT_FLOAT16": 1,
        "DT_INT8": 2,
        "DT_INT32": 3,
        "DT_UINT8": 4,
        "DT_INT16": 6,
        "DT_UINT16": 7,
        "DT_UINT32": 8,
        "DT_INT64": 9,
        "DT_UINT64": 10,
        "DT_DOUBLE": 11,
        "DT_BOOL": 12,
        "DT_STRING": 13,
        "DT_DUAL_SUB_INT8": 14,
        "DT_DUAL_SUB_UINT8": 15,
        "DT_COMPLEX64": 16,
        "DT_COMPLEX128": 17,
        "DT_QINT8": 18,
        "DT_QINT16": 19,
        "DT_QINT32": 20,
        "DT_QUINT8": 21,
        "DT_QUINT16": 22,
        "DT_RESOURCE": 23,
        "DT_STRING_REF": 24,
        "DT_DUAL": 25,
        "DT_VARIANT": 26,
        "DT_BF16": 27,
        "DT_UNDEFINED": 28,
        "DT_INT4": 29,
        "DT_UINT1": 30,
    }
)
"""`ge::DataType` by the names of `ge.proto.DataType`: what attributes hold."""

CPP_NAMES: Mapping[int, str] = MappingProxyType({number: name for name, number in CPP_NUMBERS.items()})
"""The inverse."""
