"""How a diagnostic looks: the carets stand under the place, and nothing that a file holds steers the terminal."""

from __future__ import annotations

from amctc.diagnostics import Diagnostic, render
from amctc.source import SourceFile


def excerpt(text: str, place: str) -> tuple[str, str]:
    """The line of the excerpt and the carets under it, without the gutter."""
    source = SourceFile("quant.cfg", text)
    start = text.index(place)
    lines = render(Diagnostic("AM000", "wrong", span=source.span(start, start + len(place)))).split("\n")
    return lines[2].partition(" | ")[2], lines[3].partition(" | ")[2]


def test_the_carets_stand_under_the_place() -> None:
    assert excerpt("batch_num: 0", "0") == ("batch_num: 0", "           ^")
    assert excerpt("a: 12345 b: 1", "12345") == ("a: 12345 b: 1", "   ^^^^^")


def test_a_wide_character_takes_two_columns_and_a_mark_none() -> None:
    assert excerpt('skip: "卷积" x', "x")[1] == " " * 13 + "^"
    assert excerpt('skip: "卷积" x', "卷积")[1] == " " * 7 + "^^^^"
    assert excerpt("a\u0308: x", "x")[1] == "   ^"


def test_control_characters_of_a_file_are_shown_as_signs() -> None:
    line, carets = excerpt("a: \x1b[31m\x00\x7f\u202e x", "x")
    assert line == "a: ␛[31m␀␡\ufffd x"
    assert carets.index("^") == line.index("x")
    told = render(Diagnostic("AM000", "no layer `a\x1b[2J\nb`", notes=("first\nsecond\x07",)))
    assert told == "error[AM000]: no layer `a␛[2J␊b`\n  note: first\nsecond␇"


def test_only_a_part_of_a_long_line_is_shown() -> None:
    line, carets = excerpt("x" * 5000 + "!" + "y" * 5000, "!")
    assert len(line) <= 200
    assert line[carets.index("^")] == "!"
