"""A blob in fields of our own: codes of 4 bits, and the tables of 16 levels that they stand for (docs/files.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from amctc.ir.node import Shape
from amctc.quant.snq_codes import packed_size, unpack_codes
from amctc.quant.snq_tables import LEVELS
from amctc.text.wire import LEN, VARINT, walk

INT4_DATA, LOOKUP_TABLE = 200000, 200001
"""Fields of a `BlobProto`."""

_LEVELS, _AXIS, _GROUPS = 1, 2, 3


def read_lookup_blob(codes: memoryview, messages: Iterable[memoryview], shape: Shape) -> NDArray[np.int8]:
    """The levels that packed codes stand for, int8 of this shape.

    `codes` is `int4_data`, `messages` are the payloads of `lookup_table`. Raises ValueError (one sentence) where codes,
    tables and shape do not fit, `WireError` for a table that is no message. Memory is bounded by the bytes given.
    """
    levels, axis, groups = _lookup_table(messages)
    count = math.prod(shape)
    if min(shape, default=1) < 0 or packed_size(count) != len(codes):
        raise ValueError(f"has the shape {list(shape)} but {len(codes)} bytes of 4-bit codes")
    blocks = table_blocks(shape, len(levels) // LEVELS, axis, groups)
    try:
        flat = unpack_codes(np.frombuffer(codes, np.uint8), count)
    except ValueError as problem:
        raise ValueError(f"has 4-bit codes that cannot be: {problem}") from None
    if not count:  # the other axes may then be larger than any array
        return np.empty(0, np.int8).reshape(shape)
    by_block, values = flat.reshape(blocks), np.empty(blocks, np.int8)
    for table in range(len(levels) // LEVELS):
        group, row = divmod(table, blocks[2])
        mine = by_block[group, :, row]
        # Codes are below 16, so the rest of the table of 256 that `translate` wants is never looked at.
        looked_up = mine.tobytes().translate(levels[table * LEVELS : (table + 1) * LEVELS].ljust(256, b"\0"))
        values[group, :, row] = np.frombuffer(looked_up, np.int8).reshape(mine.shape)
    return values.reshape(shape)


def table_blocks(shape: Shape, tables: int, axis: int, groups: int) -> tuple[int, int, int, int]:
    """The shape `[G, R, C, n]` in which the elements `[g, :, c, :]` of a blob belong to table `g * C + c`.

    One table is for all elements, whatever the axis. Of several, table i0 is for the index i0 on axis 0; on axis 1, a
    group of axis 0 has one for each index. Raises ValueError (one sentence) where the number of tables is not that.
    """
    if tables < 1:
        raise ValueError("has no levels for its 4-bit codes")
    if tables == 1:
        return 1, 1, 1, math.prod(shape)
    if axis not in (0, 1):
        raise ValueError(f"has a `lookup_table` along axis {axis}, which must be 0 or 1")
    if axis == 0 and groups != 1:
        raise ValueError(f"has a `lookup_table` along axis 0 in {groups} groups; only axis 1 has groups")
    if axis >= len(shape):
        raise ValueError(f"has a `lookup_table` along axis {axis}, and the shape {list(shape)}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"has a `lookup_table` in {groups} groups, which do not divide its shape {list(shape)}")
    wanted = shape[0] if axis == 0 else groups * shape[1]
    if tables != wanted:
        raise ValueError(f"has {tables} tables of levels, where its shape {list(shape)} wants 1 or {wanted}")
    if axis == 0:
        return shape[0], 1, 1, math.prod(shape[1:])
    return groups, shape[0] // groups, shape[1], math.prod(shape[2:])


def _lookup_table(messages: Iterable[memoryview]) -> tuple[bytes, int, int]:
    """(levels, axis, groups) of a `LookupTable`; of a field that is there twice, the last holds."""
    levels, numbers = b"", {_AXIS: 0, _GROUPS: 1}
    for message in messages:
        for field in walk(message):
            if field.number == _LEVELS and field.kind == LEN:
                levels = bytes(field.payload)
            elif field.number in numbers and field.kind == VARINT:
                numbers[field.number] = field.int32
    if len(levels) % LEVELS:
        raise ValueError(f"has {len(levels)} levels for its 4-bit codes, and a table has {LEVELS}")
    return levels, numbers[_AXIS], numbers[_GROUPS]
