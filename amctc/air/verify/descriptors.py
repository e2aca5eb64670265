"""Tensors and their descriptors: element types, layouts, shapes, and how many bytes the data has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from amctc.air.descriptors import type_name
from amctc.air.layouts import LAYOUTS, layout_number
from amctc.air.schema import TensorDef, TensorDescriptor
from amctc.air.verify.report import Report, shown
from amctc.diagnostics import did_you_mean

_BITS = {
    1: "UINT1",
    2: "INT2 UINT2",
    4: "INT4 FLOAT4_E2M1 FLOAT4_E1M2 HIFLOAT4",
    8: "INT8 UINT8 BOOL QINT8 QUINT8 HIFLOAT8 FLOAT8_E5M2 FLOAT8_E4M3FN FLOAT8_E8M0",
    16: "FLOAT16 BF16 INT16 UINT16 QINT16 QUINT16",
    32: "FLOAT INT32 UINT32 QINT32 COMPLEX32",
    64: "INT64 UINT64 DOUBLE COMPLEX64",
    128: "COMPLEX128",
}
ELEMENT_BITS: Mapping[str, int] = MappingProxyType(
    {f"DT_{name}": bits for bits, names in _BITS.items() for name in names.split()}
)
"""Bits an element takes, by the names of `ge.proto.DataType`; texts and other types without a size are not here."""

UNKNOWN_RANK = -2
_UNKNOWN_DIM = -1
_LARGEST = (1 << 63) - 1

_LOST_OF_2021 = (
    *("size", "weight_size", "reuse_input", "output_tensor", "input_tensor", "reuse_input_index", "data_offset"),
    *("cmps_size", "cmps_tab", "cmps_tab_offset"),
)
"""Fields that the loader of 2021 takes from attributes instead where `has_out_attr` is missing. It does so with
`device_type` and `real_dim_cnt` too, but those of 2026 write these two without `has_out_attr` as a rule."""

_USUAL_DEVICE = ("", "NPU")


def check_descriptor(where: str, desc: TensorDescriptor, report: Report) -> None:
    """AM365 and AM374 to AM377: one descriptor, without its attributes of other kinds."""
    if type_name(desc) is None:
        help = "loaders read it as DT_UNDEFINED; the numbers are those of ge.proto.DataType"
        report.error("AM374", f"{where} has the element type {desc.dtype}, which there is not", help)
    _check_layouts(where, desc, report)
    if desc.HasField("shape"):
        _check_shape(where, desc.shape.dim, report)
    else:
        report.error("AM376", f"{where} has no shape", "a scalar has an empty shape, an unknown rank the one dim -2")
    lost = [] if desc.has_out_attr else [name for name in _LOST_OF_2021 if getattr(desc, name)]
    if not desc.has_out_attr and desc.device_type not in _USUAL_DEVICE:
        lost.append("device_type")
    if lost:
        help = "set `has_out_attr`: without it the loader of 2021 takes these fields from attributes"
        told = ", ".join(f"`{name}`" for name in lost)
        report.error("AM365", f"{where} has {told}, but no `has_out_attr`", help)


def _check_layouts(where: str, desc: TensorDescriptor, report: Report) -> None:
    """AM375: what `layout` and `origin_format` say, and that the numbers beside them say the same."""
    if not desc.layout:
        report.error("AM375", f"{where} has no layout", "write `ND` where no layout is meant")
    texts = [(desc.layout, "layout", "format_for_int")]
    origin = desc.attr["origin_format"].s if "origin_format" in desc.attr else b""
    texts.append((origin.decode(errors="replace"), "origin_format", "origin_format_for_int"))
    for text, name, beside in texts:
        if not text:
            continue
        number = layout_number(text)
        if number is None:
            help = did_you_mean(text[:64], LAYOUTS)
            report.error("AM375", f"{where} has the {name} {shown(text)}, which no loader knows", help)
            continue
        other = desc.attr.get(beside)
        if other is not None and other.WhichOneof("value") == "i" and other.i != number:
            message = f"{where} has the {name} {shown(text)}, but `{beside}` {other.i}"
            report.error("AM375", message, f"the number counts for the loader of 2026; {shown(text)} is {number}")


def _check_shape(where: str, dims: Sequence[int], report: Report) -> None:
    """AM377."""
    low = min(dims, default=0)
    if low < UNKNOWN_RANK:
        report.error("AM377", f"{where} has a dim of {low}", "-1 stands for a dim that is not known")
    elif low == UNKNOWN_RANK and len(dims) > 1:
        report.error("AM377", f"{where} has a dim of -2 beside others", "-2 alone stands for an unknown rank")
    elif low > 0 and _product(dims) is None:
        report.error("AM377", f"{where} has more than 2^63 - 1 elements")


def _product(dims: Sequence[int]) -> int | None:
    """The number of elements; None where it is not known, or more than 2^63 - 1. Takes time linear in the dims."""
    if any(dim < 0 for dim in dims):
        return None
    if 0 in dims:
        return 0
    if sum(dim > 1 for dim in dims) >= 63:
        return None
    count = math.prod(dim for dim in dims if dim > 1)
    return count if count <= _LARGEST else None


def data_bytes(desc: TensorDescriptor) -> int | None:
    """How many bytes the data of a tensor has; None where the shape or the size of an element is not known."""
    bits = ELEMENT_BITS.get(type_name(desc) or "")
    count = _product(desc.shape.dim)
    return None if bits is None or count is None else -(-count * bits // 8)


def check_data(where: str, tensor: TensorDef, report: Report, *, required: bool) -> None:
    """AM379: that the data is as long as shape and element type say; none at all is right unless `required`."""
    wanted, found = data_bytes(tensor.desc), len(tensor.data)
    if wanted is None or wanted == found or (not found and not required):
        return
    name = type_name(tensor.desc)
    help = f"{_dims(tensor.desc.shape.dim)} of {name} takes {wanted}"
    report.error("AM379", f"{where} has {found} bytes of data", help)


def _dims(dims: Sequence[int]) -> str:
    told = " x ".join(map(str, dims[:8])) if dims else "one element"
    return f"{told} x …" if len(dims) > 8 else told


def same_tensor(first: TensorDescriptor, second: TensorDescriptor) -> bool:
    """Whether two descriptors have one element type and one shape."""
    return bool(first.dtype == second.dtype and first.shape.dim == second.shape.dim)


def told_tensor(desc: TensorDescriptor) -> str:
    """`DT_FLOAT 4 x 3`, for a message."""
    return f"{type_name(desc) or desc.dtype} {_dims(desc.shape.dim)}"


def integer(attrs: Any, name: str) -> int | None:
    """A whole number among attributes, or None."""
    if name not in attrs or attrs[name].WhichOneof("value") != "i":
        return None
    return int(attrs[name].i)
