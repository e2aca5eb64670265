"""Protobuf's wire format, walked over the bytes themselves: headers are read, payloads are views.

For files that are nearly all payload (weights), where a parser would copy every number first. What
the fields mean is the caller's business; a field that it does not know it leaves alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

VARINT: Final = 0
I64: Final = 1
LEN: Final = 2
I32: Final = 5
_GROUP: Final = 3
_END_GROUP: Final = 4

MAX_DEPTH = 64
"""Groups inside groups; protobuf itself allows 100."""

_WIDTHS = {I64: 8, I32: 4}


class WireError(ValueError):
    """The bytes are no message in protobuf's wire format: cut off, or with a length or tag that cannot be."""


class WireField(NamedTuple):
    """One field: its number, its wire type, and its value.

    The value is an unsigned 64-bit number for VARINT, the payload for LEN. Fields of one number and a
    fixed width (I32, I64) that follow each other come as one, with the payloads joined: that is how
    an unpacked list of floats is read without a step for every number.
    """

    number: int
    kind: int
    value: int | memoryview

    @property
    def payload(self) -> memoryview:
        """The bytes of a LEN, I32 or I64 field; WireError for a VARINT."""
        if isinstance(self.value, int):
            raise WireError(f"field {self.number} is a number, not bytes")
        return self.value

    @property
    def int32(self) -> int:
        """The value of a VARINT as protobuf's int32, which drops the upper half; WireError for another kind."""
        if not isinstance(self.value, int):
            raise WireError(f"field {self.number} is not a number")
        low = self.value & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low


def walk(data: memoryview) -> Iterator[WireField]:
    """The fields of a message in the order of its bytes; groups (which proto2 gave up) are stepped over.

    `data` is a memoryview of unsigned bytes. Raises `WireError` at the first byte that does not fit.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = _tag(tag)
        if kind == LEN:
            size, at = _varint(data, at)
            if size > end - at:
                raise WireError(f"field {number} has {size} bytes, of which {end - at} are there")
            yield WireField(number, kind, data[at : at + size])
            at += size
        elif kind == VARINT:
            value, at = _varint(data, at)
            yield WireField(number, kind, value)
        elif kind == _GROUP:
            at = _after_group(data, at, number)
        else:
            payload, at = _fixed(data, at, tag)
            yield WireField(number, kind, payload)


def string(payload: memoryview) -> str:
    """A string field as text; bytes that are not UTF-8 become U+FFFD."""
    return bytes(payload).decode("utf-8", "replace")


def packed_varints(payload: memoryview) -> NDArray[np.uint64]:
    """The numbers of a packed list of varints, as uint64 [count]. Raises `WireError`."""
    raw = np.frombuffer(payload, np.uint8)
    if raw.size and raw[-1] & 0x80:
        raise WireError("a list ends in the middle of a number")
    ends = np.flatnonzero(raw < 0x80)
    starts = np.concatenate([np.zeros(1, np.intp), ends[:-1] + 1]) if ends.size else ends
    longest = int((ends - starts).max(initial=-1)) + 1
    if longest > 10:
        raise WireError("a number of a list is longer than 10 bytes")
    values = np.zeros(ends.size, np.uint64)
    for index in range(longest):
        longer = starts + index <= ends
        bits = (raw[starts[longer] + index] & 0x7F).astype(np.uint64)
        values[longer] |= bits << np.uint64(7 * index)
    return values


def write_varint(value: int) -> bytes:
    """An unsigned number as it stands on the wire."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_field(field: WireField) -> bytes:
    """A field as it stands on the wire."""
    tag = write_varint(field.number << 3 | field.kind)
    if isinstance(field.value, int):
        return tag + write_varint(field.value)
    if field.kind == LEN:
        return b"".join((tag, write_varint(len(field.value)), field.value))
    width = _WIDTHS[field.kind]
    return b"".join(tag + field.value[at : at + width] for at in range(0, len(field.value), width))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """(value, offset behind it); at most ten bytes, of whose bits 64 count."""
    end = len(data)
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise WireError("a number is longer than 10 bytes")
    raise WireError("the bytes end in the middle of a number")


def _tag(tag: int) -> tuple[int, int]:
    number, kind = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise WireError(f"there is no field number {number}")
    if kind in (_END_GROUP, 6, 7):
        raise WireError(f"field {number} has the wire type {kind}")
    return number, kind


def _fixed(data: memoryview, at: int, tag: int) -> tuple[memoryview, int]:
    """(payloads joined, offset behind them) of the fields with this tag that follow each other."""
    width = _WIDTHS[tag & 7]
    if width > len(data) - at:
        raise WireError(f"field {tag >> 3} has {width} bytes, of which {len(data) - at} are there")
    after = at + width
    head = write_varint(tag)
    if len(head) > 1 or after >= len(data) or data[after] != tag:
        return data[at:after], after
    count = _run_length(data, at - 1, width + 1, tag)
    records = np.frombuffer(data[at - 1 : at - 1 + count * (width + 1)], np.uint8).reshape(count, width + 1)
    joined = np.ascontiguousarray(records[:, 1:]).reshape(-1)
    return memoryview(joined.data), at - 1 + count * (width + 1)


def _run_length(data: memoryview, at: int, size: int, tag: int) -> int:
    """How many whole records of `size` bytes from `at` on begin with the byte `tag`."""
    most = (len(data) - at) // size
    count, step = 0, 16
    # The look-ahead grows with the run, so that many short runs do not each scan the rest of the file.
    while count < most:
        ahead = min(step, most - count)
        start = at + count * size
        tags = np.frombuffer(data[start : start + ahead * size], np.uint8)[::size]
        differs = np.flatnonzero(tags != tag)
        if differs.size:
            return count + int(differs[0])
        count += ahead
        step *= 2
    return count


def _after_group(data: memoryview, at: int, number: int) -> int:
    """The offset behind a group whose opening tag has been read."""
    inside = [number]
    while inside:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _END_GROUP:
            if number != inside.pop():
                raise WireError(f"the end of group {number} closes another one")
            continue
        number, kind = _tag(tag)
        if kind == _GROUP:
            if len(inside) == MAX_DEPTH:
                raise WireError(f"groups are nested deeper than {MAX_DEPTH}")
            inside.append(number)
        elif kind == VARINT:
            _, at = _varint(data, at)
        else:
            size = _WIDTHS.get(kind, 0)
            if kind == LEN:
                size, at = _varint(data, at)
            if size > len(data) - at:
                raise WireError(f"field {number} has {size} bytes, of which {len(data) - at} are there")
            at += size
    return at
