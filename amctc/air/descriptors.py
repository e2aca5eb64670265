"""Tensor descriptors: made, read and brought up to date."""

from __future__ import annotations

from collections.abc import Sequence

from amctc.air.data_types import GE_TYPES, NUMPY_TYPES
from amctc.air.layouts import LAYOUT_NAMES, LAYOUTS, RESERVED
from amctc.air.schema import TensorDescriptor, ge_schema, new

UNKNOWN = -1
"""A dim that is not known."""
DEVICE = "NPU"


def make_descriptor(shape: Sequence[int] | None, dtype: str, layout: str) -> TensorDescriptor:
    """The descriptor of a tensor, as both generations of GE read it; shape None: not even the rank is known.

    `dtype` is numpy's name of the element type. KeyError for one that GE does not have.
    """
    found = new("TensorDescriptor")
    found.has_out_attr = True
    found.device_type = DEVICE
    set_type(found, dtype)
    set_format(found, layout)
    set_shape(found, shape)
    return found


def absent_descriptor() -> TensorDescriptor:
    """The descriptor of an optional input that is left out: of no type and no layout."""
    found = new("TensorDescriptor")
    found.has_out_attr = True
    found.device_type = DEVICE
    found.shape.SetInParent()
    found.layout = RESERVED
    found.attr["origin_format"].s = b"ND"
    return found


def is_absent(descriptor: TensorDescriptor) -> bool:
    """Whether a descriptor stands for an input that is left out."""
    return bool(descriptor.layout == RESERVED or not descriptor.dtype)


def dtype_of(descriptor: TensorDescriptor) -> str | None:
    """numpy's name of the element type; None for one that numpy lacks, and where none is said."""
    return NUMPY_TYPES.get(type_name(descriptor) or "")


def type_name(descriptor: TensorDescriptor) -> str | None:
    """The name of the element type in `ge.proto.DataType`; None where the number stands for none."""
    value = ge_schema().pool.FindEnumTypeByName("ge.proto.DataType").values_by_number.get(descriptor.dtype)
    return None if value is None else str(value.name)


def shape_of(descriptor: TensorDescriptor) -> tuple[int, ...]:
    """The dims: -1 for one that is not known, a single -2 where not even the rank is."""
    return tuple(descriptor.shape.dim)


def format_of(descriptor: TensorDescriptor) -> str:
    """The name of the layout: by `format_for_int` where it is there, as GE reads it, else by `layout`."""
    if "format_for_int" in descriptor.attr:
        return LAYOUT_NAMES.get(descriptor.attr["format_for_int"].i & 0xFF, RESERVED)
    return str(descriptor.layout).partition(":")[0]


def set_type(descriptor: TensorDescriptor, dtype: str) -> None:
    """Give a descriptor an element type, by numpy's name."""
    values = ge_schema().pool.FindEnumTypeByName("ge.proto.DataType").values_by_name
    descriptor.dtype = values[GE_TYPES[dtype]].number


def set_format(descriptor: TensorDescriptor, layout: str) -> None:
    """Give a descriptor a layout, in every place that says it."""
    descriptor.layout = layout
    descriptor.attr["origin_format"].s = layout.encode()
    for name in ("format_for_int", "origin_format_for_int"):
        if name in descriptor.attr:
            descriptor.attr[name].i = LAYOUTS[layout]


def set_shape(descriptor: TensorDescriptor, shape: Sequence[int] | None) -> None:
    """Give a descriptor a shape, in every place that says it."""
    dims = [-2] if shape is None else list(shape)
    descriptor.shape.SetInParent()
    del descriptor.shape.dim[:]
    descriptor.shape.dim.extend(dims)
    descriptor.real_dim_cnt = 0 if shape is None else len(dims)
    origin = descriptor.attr["origin_shape"].list
    origin.val_type = origin.ListValueType.Value("VT_LIST_INT")
    del origin.i[:]
    origin.i.extend(dims)
    if "origin_shape_initialized" in descriptor.attr:
        descriptor.attr["origin_shape_initialized"].b = True
