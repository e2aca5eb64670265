"""The walk over protobuf's wire format sees what protobuf itself sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.text.proto_schema import load_schema
from amctc.text.wire import I32, I64, LEN, VARINT, WireError, packed_varints, string, walk, write_field, write_varint

UINT64 = st.integers(0, 2**64 - 1)


@given(UINT64)
def test_a_varint_is_read_as_it_was_written(value: int) -> None:
    (field,) = walk(memoryview(b"\x08" + write_varint(value)))
    assert field == (1, VARINT, value)


@given(st.lists(UINT64))
def test_packed_lists_are_read_as_protobuf_writes_them(values: list[int]) -> None:
    blob: Any = load_schema("caffe.proto").message("caffe.BlobProto")()
    blob.uint64_data.extend(values)
    fields = list(walk(memoryview(blob.SerializeToString())))
    assert [number for field in fields for number in packed_varints(field.payload).tolist()] == values


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_signed_numbers_are_read_as_protobuf_writes_them(values: list[int]) -> None:
    for value in values:
        blob: Any = load_schema("caffe.proto").message("caffe.BlobProto")(num=value)
        (field,) = walk(memoryview(blob.SerializeToString()))
        assert field.int32 == value


@given(st.lists(st.tuples(st.sampled_from([0x2D, 0x41, 0x08]), st.binary(min_size=8, max_size=8)), max_size=200))
def test_runs_of_fixed_fields_come_joined_and_lose_nothing(records: list[tuple[int, bytes]]) -> None:
    widths = {0x2D: 4, 0x41: 8, 0x08: 0}
    data = b"".join(bytes([tag]) + (payload[: widths[tag]] or b"\x05") for tag, payload in records)
    found = list(walk(memoryview(data)))
    assert b"".join(write_field(field) for field in found) == data
    for kind, tag in ((I32, 0x2D), (I64, 0x41)):
        expected = b"".join(payload[: widths[tag]] for own, payload in records if own == tag)
        assert b"".join(bytes(field.payload) for field in found if field.kind == kind) == expected


def test_a_long_run_is_one_field() -> None:
    numbers = np.arange(10_000, dtype="<f4")
    data = b"".join(b"\x2d" + number.tobytes() for number in numbers) + b"\x08\x01"
    run, last = walk(memoryview(data))
    assert np.frombuffer(run.payload, "<f4").tolist() == numbers.tolist()
    assert last.value == 1


def test_groups_are_stepped_over() -> None:
    group = b"\x0b" + b"\x10\x96\x01" + b"\x1a\x02hi" + b"\x23\x24" + b"\x2d1234" + b"\x31" + b"8" * 8 + b"\x0c"
    (field,) = walk(memoryview(group + b"\x12\x01x"))
    assert (field.number, field.kind, string(field.payload)) == (2, LEN, "x")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80", "end in the middle of a number"),
        (b"\x08", "end in the middle of a number"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "longer than 10 bytes"),
        (b"\x0a\x05abc", "has 5 bytes, of which 3 are there"),
        (b"\x0d123", "has 4 bytes, of which 3 are there"),
        (b"\x00\x01", "no field number 0"),
        (b"\x0f", "wire type 7"),
        (b"\x0c", "wire type 4"),
        (b"\x0b\x14", "closes another one"),
        (b"\x0b", "end in the middle"),
        (b"\x0b\x12\x7f", "has 127 bytes"),
        (b"\x0b" * 65, "nested deeper than 64"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        list(walk(memoryview(data)))


@pytest.mark.parametrize("data", [b"\x01\x80", b"\x80" * 10 + b"\x01"])
def test_a_broken_list_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        packed_varints(memoryview(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_walked_or_refused(data: bytes) -> None:
    try:
        assert all(field.number > 0 for field in walk(memoryview(data)))
    except WireError as problem:
        assert str(problem)
