"""The shortcut for JSON gives the grammar's trees, or leaves the text to the grammar."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.source import SourceFile
from amctc.text.json_scan import scan_json
from amctc.text.json_source import parse_json, parse_json_by_grammar
from amctc.text.json_tree import Json, JsonArray, JsonNode, JsonObject
from amctc.text.syntax import MAX_DEPTH
from tests.fuzz.mutations import damaged_texts

SAMPLES = (
    '{"version":1, "conv1" : {"range": [0.7, 1.3], "on": true, "no": null},\r\n\t"b": [], "c": {} }',
    '\ufeff[ -0, 1.5e-3, 2E+4, 18446744073709551616, "a\\"b\\u00e9\\ud834\\udd1e\\n", false, [[{"a": [1]}]] ]\n',
    '{"": {"": ""}, "\\u0041": "é𝄞"}',
)
WRONG = (
    "",
    "1",
    '"text"',
    "{",
    '{"a":1',
    '{"a":1,}',
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1],",
    "[1]]",
    '{"a":1 "b":2}',
    '{"a":1,"a":2}',
    '{"a":{"b":1,"\\u0062":2}}',
    "{a:1}",
    "{'a':1}",
    "[01]",
    "[1.]",
    "[.5]",
    "[+1]",
    "[1e999]",
    "[NaN]",
    "[truefalse]",
    "[true1]",
    '["\\x"]',
    '["\\ud834"]',
    '["a\nb"]',
    '["a]',
    "[1] // end",
    "[" + "9" * 401 + "]",
    "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
)

values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
containers = st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=4), values, max_size=4)


def described(node: JsonNode) -> list[object]:
    """Everything in a tree, positions included, which its equality leaves out."""
    found: list[object] = [type(node).__name__, node.span.start, node.span.end]
    if isinstance(node, JsonObject):
        for member in node.members:
            found.append((member.key, member.key_span.start, member.key_span.end))
            found.extend(described(member.value))
    elif isinstance(node, JsonArray):
        for item in node.items:
            found.extend(described(item))
    else:
        found.append(repr(node.value))
    return found


def same_as_grammar(text: str) -> None:
    """The scanner takes nothing that the grammar refuses, and takes it as the grammar does."""
    source = SourceFile("config.json", text)
    scanned = scan_json(source)
    try:
        parsed = parse_json_by_grammar(source)
    except DiagnosticError:
        assert scanned is None
        return
    if scanned is not None:
        assert described(scanned) == described(parsed)


@pytest.mark.parametrize("text", SAMPLES)
def test_a_sound_text_is_scanned_as_the_grammar_reads_it(text: str) -> None:
    source = SourceFile("config.json", text)
    scanned = scan_json(source)
    assert scanned is not None
    assert described(scanned) == described(parse_json_by_grammar(source))


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_left_to_the_grammar(text: str) -> None:
    assert scan_json(SourceFile("config.json", text)) is None
    same_as_grammar(text)


@pytest.mark.parametrize("text", ["[" + "9" * 350 + "]", "[0." + "3" * 60 + "]", " 7 "])
def test_what_is_odd_but_right_is_read_by_the_grammar(text: str) -> None:
    source = SourceFile("config.json", text)
    assert scan_json(source) is None
    assert described(parse_json(source)) == described(parse_json_by_grammar(source))


@given(containers, st.sampled_from([None, 1, 4]), st.booleans())
def test_every_value_is_scanned_with_the_places_of_the_grammar(value: Json, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    same_as_grammar(text)
    assert scan_json(SourceFile("config.json", text)) is not None


@given(damaged_texts(SAMPLES, ("null", "e5", "-", "\\u", "\\ud834", '""', "[]")))
def test_a_damaged_text_is_scanned_as_the_grammar_reads_it_or_not_at_all(text: str) -> None:
    same_as_grammar(text)


def test_the_deepest_nesting_is_scanned() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert scan_json(SourceFile("config.json", text)) is not None
    same_as_grammar(text)
