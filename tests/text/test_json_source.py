from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.source import SourceFile
from amctc.text import syntax
from amctc.text.json_source import parse_json
from amctc.text.json_tree import JsonNode, key_span_at, node_at, span_at, to_python


def parse(text: str) -> JsonNode:
    return parse_json(SourceFile("f.json", text))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "expected a value, found the end of the file"),
        ("1 2", 1, 3, "expected the end of the file, found `2`"),
        ('{"a": 1,}', 1, 8, "a comma before `}`"),
        ("[1,\n 2,\n]", 2, 3, "a comma before `]`"),
        ("[1 2]", 1, 4, "expected `,` or `]`, found `2`"),
        ("[,1]", 1, 2, "expected a value or `]`, found `,`"),
        ('{"a" 1}', 1, 6, "expected `:`, found `1`"),
        ("{1: 2}", 1, 2, "expected a key in double quotes or `}`, found `1`"),
        ('{\n "a": 1\n', 2, 8, "`}` is missing at the end of the file"),
        ('{"a": 1]', 1, 8, "expected `,` or `}`, found `]`"),
        ("]", 1, 1, "`]` closes nothing"),
        ("{'a': 1}", 1, 2, "JSON strings are in double quotes"),
        ('{"a": 1 // x\n}', 1, 9, "JSON has no comments"),
        ("[1, # x\n2]", 1, 5, "JSON has no comments"),
        ("[NaN]", 1, 2, "JSON has no `NaN`"),
        ("[-Infinity]", 1, 2, "JSON has no `-Infinity`"),
        ("[True]", 1, 2, "`True` is not a JSON value"),
        ("[truex]", 1, 2, "`truex` is not a JSON value"),
        ("[01]", 1, 2, "`01` is not a JSON number"),
        ("[.5]", 1, 2, "`.5` is not a JSON number"),
        ("[+1]", 1, 2, "`+1` is not a JSON number"),
        ("[1e999]", 1, 2, "`1e999` is too large for a floating-point number"),
        (f"[{'1' * 500}]", 1, 2, "a number may have at most 400 characters"),
        ('["a\nb"]', 1, 2, "a string is not closed, or holds a control character"),
        (r'["a\qb"]', 1, 4, r"`\q` is not an escape sequence of JSON"),
        (r'["\u12"]', 1, 3, '`\\u12"` is not an escape sequence of JSON'),
        (r'["\ud800"]', 1, 2, "the string holds half a surrogate pair"),
        ('{"a": 1,\n "b": 2, "a": 3}', 2, 10, "the key `a` is there twice"),
    ],
)
def test_what_is_not_json_is_told_in_plain_words_where_it_is(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == message
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.column) == (line, column)


def test_all_keys_that_are_twice_are_told_with_the_first() -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse('{"a": 1, "a": {"b": 1, "b": 2}}')
    assert len(caught.value.diagnostics) == 2
    assert caught.value.diagnostics[0].related[0].span.column == 2


def test_python_words_are_mended() -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse("[None]")
    assert caught.value.diagnostics[0].help == "did you mean `null`?"


def test_places_are_found_by_path() -> None:
    node = parse('{\n  "conv1": {"bits": [8, 4]},\n  "x": null\n}')
    span = span_at(node, ("conv1", "bits", 1))
    assert span is not None
    assert (span.line, span.column, span.text) == (2, 25, "4")
    key = key_span_at(node, ("conv1", "bits"))
    assert key is not None
    assert key.text == '"bits"'
    assert span_at(node, ("conv1", "bits", 2)) is None
    assert span_at(node, ("conv2",)) is None
    assert node_at(node, ()) is node


def test_hostile_nesting_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="AM103"):
        parse("[" * 100_000)
    parse("[" * syntax.MAX_DEPTH + "]" * syntax.MAX_DEPTH)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_json_reads_as_the_standard_library_does(value: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert to_python(parse(text)) == json.loads(text)


@given(st.text(alphabet="ab:{}[],\"\\\n-.0189eu '#/tfn", max_size=30))
def test_any_text_is_read_as_the_standard_library_does_or_refused(text: str) -> None:
    try:
        ours = to_python(parse(text))
    except DiagnosticError:
        return
    assert ours == json.loads(text)
