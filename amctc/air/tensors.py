"""Tensors of GE's files as arrays and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.air.descriptors import dtype_of, make_descriptor, shape_of, type_name
from amctc.air.schema import TensorDef, new


class TensorError(ValueError):
    """The bytes of a tensor are not what its descriptor says."""


def tensor_array(tensor: TensorDef) -> NDArray[Any]:
    """The numbers of a tensor, not to be written to. Raises `TensorError` where they do not fit its descriptor."""
    dtype, shape = dtype_of(tensor.desc), shape_of(tensor.desc)
    if dtype is None:
        raise TensorError(f"has elements of type {type_name(tensor.desc)}, which are not read")
    if any(size < 0 for size in shape):
        raise TensorError(f"has the shape {list(shape)}")
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if size != len(tensor.data):
        raise TensorError(f"has {len(tensor.data)} bytes, where {size} are needed for {dtype} of {list(shape)}")
    return np.frombuffer(tensor.data, np.dtype(dtype).newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def make_tensor(array: NDArray[Any], layout: str) -> TensorDef:
    """A tensor that holds an array."""
    tensor = new("TensorDef")
    tensor.desc.CopyFrom(make_descriptor(array.shape, array.dtype.name, layout))
    tensor.data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor
