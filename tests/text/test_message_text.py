"""The text of a message is protobuf's own, byte for byte."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.internal.type_checkers import ToShortestFloat
from hypothesis import given
from hypothesis import strategies as st

from amctc.source import SourceFile
from amctc.text.message_text import float32_texts, message_text
from amctc.text.proto_compiler import parse_schema

SCHEMA = parse_schema(
    SourceFile(
        "all.proto",
        """syntax = "proto2";
package all;
enum Kind { NONE = 0; SOME = 3; }
message One {
  optional float ratio = 1;
  repeated float scale = 2;
  repeated int32 offset = 3;
  optional string name = 4;
  repeated bytes raw = 5;
  optional bool right = 6;
  optional Kind kind = 7;
  repeated One inner = 8;
  optional double exact = 9;
  optional uint64 large = 10;
}
""",
    )
)
SINGLES = st.floats(width=32, allow_nan=False)
FIELDS = {
    "ratio": SINGLES,
    "scale": st.lists(SINGLES, min_size=1, max_size=4),
    "offset": st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4),
    "name": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    "raw": st.lists(st.binary(max_size=4), min_size=1, max_size=2),
    "right": st.booleans(),
    "kind": st.sampled_from([0, 3]),
    "exact": st.floats(allow_nan=False),
    "large": st.integers(0, 2**64 - 1),
}
CONTENT = st.recursive(
    st.fixed_dictionaries({}, optional=FIELDS),
    lambda inner: st.fixed_dictionaries({"inner": st.lists(inner, max_size=3)}, optional=FIELDS),
    max_leaves=4,
)


@pytest.mark.parametrize("brackets", [False, True])
@given(content=CONTENT)
def test_a_message_has_protobufs_text(brackets: bool, content: dict[str, Any]) -> None:
    message: Any = SCHEMA.message("all.One")(**content)
    wanted = text_format.MessageToString(message, as_utf8=True, use_short_repeated_primitives=brackets)
    assert message_text(message, brackets=brackets) == wanted


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_a_float32_has_protobufs_text(bits: list[int]) -> None:
    numbers = [struct.unpack("<f", struct.pack("<I", each))[0] for each in bits]
    numbers = [number for number in numbers if number == number]
    assert float32_texts(numbers) == [str(ToShortestFloat(number)) for number in numbers]


def test_ends_of_the_range_have_a_text() -> None:
    texts = float32_texts([3.4028234663852886e38, 1e-45, -0.0, 0.1, float("inf"), float("nan"), 65536.0])
    assert texts == ["3.4028235e+38", "1.4013e-45", "-0.0", "0.1", "inf", "nan", "65536.0"]
