from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.lsp.positions import Positions

ENCODINGS = ("utf-8", "utf-16", "utf-32")


@pytest.mark.parametrize(("encoding", "character"), [("utf-8", 9), ("utf-16", 5), ("utf-32", 4)])
def test_a_character_counts_as_its_units_in_the_encoding(encoding: str, character: int) -> None:
    positions = Positions("x\n# 卷😀b\ny", encoding)
    at = positions.text.index("b")
    assert positions.position(at) == (1, character)
    assert positions.offset(1, character) == at


def test_every_line_end_of_the_protocol_ends_a_line() -> None:
    positions = Positions("a\r\nb\rc\nd\x0be\u2028f")
    assert [positions.position(positions.text.index(char)) for char in "abcdef"] == [
        (0, 0), (1, 0), (2, 0), (3, 0), (3, 2), (3, 4),
    ]  # fmt: skip


def test_what_is_beyond_an_end_is_that_end() -> None:
    positions = Positions("ab\r\ncd")
    assert positions.offset(0, 99) == 2
    assert positions.offset(1, 99) == positions.offset(7, 0) == 6
    assert positions.offset(-1, 3) == 0
    assert positions.position(99) == (1, 2)


@given(st.text("a\r\n😀é#", max_size=20), st.integers(0, 20), st.sampled_from(ENCODINGS))
def test_an_offset_comes_back_from_its_position(text: str, offset: int, encoding: str) -> None:
    offset = min(offset, len(text))
    if text[offset - 1 : offset + 1] == "\r\n" and offset:
        return  # between the two there is no position of its own
    positions = Positions(text, encoding)
    assert positions.offset(*positions.position(offset)) == offset
