"""One `BlobProto` as an array, its numbers copied once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from amctc.diagnostics import error
from amctc.dialects.caffe.lookup_blob import INT4_DATA, LOOKUP_TABLE, read_lookup_blob
from amctc.ir.node import Array, Shape
from amctc.text.files import map_file
from amctc.text.wire import I32, I64, LEN, VARINT, WireError, WireField, packed_varints, walk

MOST_AXES = 32
"""Caffe's own limit."""

DAMAGED = "the file is damaged or was cut off"
"""What to say of a file whose blobs cannot be read."""

_LEGACY = (1, 2, 3, 4)
_DATA, _SHAPE, _DOUBLE, _INT8, _INT32, _UINT64 = 5, 7, 8, 10, 11, 12


def read_blob(data: memoryview) -> Array:
    """The array of a serialized blob, in its own shape: float32 (`double_data` too), int8, int32 or uint64.

    Codes of 4 bits (`lookup_blob`) become the int8 levels that they stand for. The shape is `shape`, or the four old
    fields, or that of a vector. Raises `WireError` for bytes that are no blob, ValueError (one sentence) where the
    numbers do not fill the shape.
    """
    fields = list(walk(data))
    codes = [field.payload for field in fields if field.number == INT4_DATA and field.kind == LEN]
    tables = [field.payload for field in fields if field.number == LOOKUP_TABLE and field.kind == LEN]
    array = _numbers(fields)
    if codes or tables:
        return _lookup_blob(codes, tables, fields, array.size)
    shape = _shape(fields, array.size)
    if min(shape, default=1) < 0 or math.prod(shape) != array.size:
        raise ValueError(f"has the shape {list(shape)} but {array.size} numbers")
    return array.reshape(shape)


def read_blob_file(path: str | Path) -> Array:
    """The one blob of a `.binaryproto` file, such as a mean image [1, channels, height, width].

    Raises `DiagnosticError`: AM310 unreadable file, AM311 not a blob, AM312 a blob that is cut off.
    """
    data = map_file(path)
    try:
        return read_blob(data)
    except WireError as problem:
        raise error("AM311", f"this is not a readable blob: {problem}", file=str(path), help=DAMAGED) from None
    except ValueError as problem:
        raise error("AM312", f"the blob {problem}", file=str(path), help=DAMAGED) from None


def _lookup_blob(
    codes: Sequence[memoryview], tables: Sequence[memoryview], fields: Sequence[WireField], others: int
) -> Array:
    if not codes or not tables:
        there, missing = ("int4_data", "lookup_table") if codes else ("lookup_table", "int4_data")
        raise ValueError(f"has `{there}` but no `{missing}`")
    if others:
        raise ValueError(f"has `int4_data` and {others} other numbers too")
    shape = _shape(fields, -1)
    if shape == (-1,):
        raise ValueError("has `int4_data` but no shape")
    return read_lookup_blob(codes[-1], tables, shape)


def _numbers(fields: Sequence[WireField]) -> Array:
    doubles = [field.payload for field in fields if field.number == _DOUBLE and field.kind in (LEN, I64)]
    if doubles:
        return _floats(doubles, "<f8")
    int8 = [field.payload for field in fields if field.number == _INT8 and field.kind == LEN]
    if int8:
        return np.frombuffer(bytes(int8[-1]), np.int8)
    words = _varints(fields, _INT32)
    if words.size:
        return words.astype(np.uint32).view(np.int32)
    words = _varints(fields, _UINT64)
    if words.size:
        return words
    return _floats([field.payload for field in fields if field.number == _DATA and field.kind in (LEN, I32)], "<f4")


def _floats(pieces: Sequence[memoryview], dtype: DTypeLike) -> Array:
    """Pieces of a list of numbers, copied into one aligned float32 vector."""
    width = np.dtype(dtype).itemsize
    if any(len(piece) % width for piece in pieces):
        raise WireError("a list ends in the middle of a number")
    found = np.empty(sum(map(len, pieces)) // width, np.float32)
    at = 0
    with np.errstate(over="ignore", under="ignore"):  # as Caffe casts: what float32 cannot hold is infinite
        for piece in pieces:
            numbers = np.frombuffer(piece, dtype)
            found[at : at + numbers.size] = numbers
            at += numbers.size
    return found


def _varints(fields: Sequence[WireField], number: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    packed = [packed_varints(field.payload) for field in fields if field.number == number and field.kind == LEN]
    single = [field.value for field in fields if field.number == number and field.kind == VARINT]
    return np.concatenate([*packed, np.array(single, np.uint64)])


def _shape(fields: Sequence[WireField], size: int) -> Shape:
    shapes = [field.payload for field in fields if field.number == _SHAPE and field.kind == LEN]
    if shapes:
        inner = [field for shape in shapes for field in walk(shape)]
        dims = _varints(inner, 1)
        if dims.size > MOST_AXES:
            raise ValueError(f"has {dims.size} axes; Caffe allows {MOST_AXES}")
        return tuple(int(dim) for dim in dims.view(np.int64))
    legacy = {field.number: field.int32 for field in fields if field.number in _LEGACY and field.kind == VARINT}
    return tuple(legacy.get(number, 0) for number in _LEGACY) if legacy else (size,)
