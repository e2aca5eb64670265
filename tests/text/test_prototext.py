from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.source import SourceFile
from amctc.text import syntax
from amctc.text.literals import as_float32, float32_text
from amctc.text.prototext import TextField, TextMessage, TextScalar, parse_prototext, print_prototext
from tests.shared_files import ASSETS, GOLDEN, needs_assets, needs_golden


def parse(text: str) -> TextMessage:
    return parse_prototext(SourceFile("f.prototxt", text))


def only(text: str) -> TextScalar | TextMessage:
    (entry,) = parse(text).fields
    return entry.value


def refused(text: str) -> DiagnosticError:
    with pytest.raises(DiagnosticError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("a: 7", "int", 7),
        ("a: -7", "int", -7),
        ("a: - 7", "int", -7),
        ("a: 0x1F", "int", 31),
        ("a: -0xff", "int", -255),
        ("a: 017", "int", 15),
        ("a: 0", "int", 0),
        ("a: 18446744073709551615", "int", 18446744073709551615),
        ("a: 1e-10", "float", 1e-10),
        ("a: 1E+3", "float", 1000.0),
        ("a: .5", "float", 0.5),
        ("a: 1.", "float", 1.0),
        ("a: 1f", "float", 1.0),
        ("a: -2.5F", "float", -2.5),
        ("a: inf", "float", math.inf),
        ("a: -inf", "float", -math.inf),
        ("a: Infinity", "float", math.inf),
        ("a: MAX", "identifier", "MAX"),
        ("a: true", "identifier", "true"),
        ("a: information", "identifier", "information"),
        ("a: 'x\"y'", "string", b'x"y'),
        ('a: "x\'y"', "string", b"x'y"),
        ('a: "one" \'two\'\n "three"', "string", b"onetwothree"),
        (r'a: "\a\b\f\n\r\t\v\\\'\"\?"', "string", b"\a\b\f\n\r\t\v\\'\"?"),
        (r'a: "\1\12\1234\x9\xffG"', "string", b"\x01\x0aS4\x09\xffG"),
        (r'a: "\u00e9\U0001F600"', "string", "\u00e9\U0001f600".encode()),
        (r'a: "\ud83d\ude00"', "string", "\U0001f600".encode()),
        ('a: "卷积 # no comment"', "string", "卷积 # no comment".encode()),
    ],
)
def test_a_scalar_has_its_kind_and_value(text: str, kind: str, value: object) -> None:
    scalar = only(text)
    assert isinstance(scalar, TextScalar)
    assert (scalar.kind, scalar.value) == (kind, value)
    assert type(scalar.value) is type(value)


def test_nan_is_a_float() -> None:
    scalar = only("a: nan")
    assert isinstance(scalar, TextScalar)
    assert isinstance(scalar.value, float)
    assert math.isnan(scalar.value)


@pytest.mark.parametrize(
    "text",
    [
        "a { b: 1 c: 2 }",
        "a: { b: 1 c: 2 }",
        "a : {b:1 c:2}",
        "a < b: 1 c: 2 >",
        "a: < b: 1; c: 2; >",
        "a { b: 1, c: 2, },",
        "a [{ b: 1 c: 2 }]",
        "a: [< b: 1 c: 2 >];",
        "a{b:1#x\nc:2}",
        "a\r\n{\r\n\tb: 1\r\n\tc: 2 # end\r\n}\r\n",
        "\ufeffa { b: 1 c: 2 }",
    ],
)
def test_a_message_may_be_written_in_many_ways(text: str) -> None:
    assert parse(text) == parse("a { b: 1 c: 2 }")
    (entry,) = parse(text).fields
    assert isinstance(entry.value, TextMessage)
    assert [inner.name for inner in entry.value.fields] == ["b", "c"]


def test_a_list_is_as_many_fields() -> None:
    assert parse("a: [1, -2, x, 'y']") == parse("a: 1 a: -2 a: x a: 'y'")
    assert parse("a: [{b: 1}, <b: 2>]") == parse("a {b: 1} a {b: 2}")
    assert parse("a: [] b []").fields == ()


def test_extension_names_are_field_names() -> None:
    tree = parse('[a.b.c]: 1 [ type.googleapis.com/x.Y ] { z: 2 } d: [FOO] [e.f]: "g"')
    assert [entry.name for entry in tree.fields] == ["[a.b.c]", "[type.googleapis.com/x.Y]", "d", "[e.f]"]


def test_every_place_is_kept() -> None:
    tree = parse('# head\r\nlayer {\r\n  name: "conv1" "x"\r\n  pad: [1,\r\n    -2]\r\n}\r\n')
    (layer,) = tree.fields
    assert isinstance(layer.value, TextMessage)
    name, first, second = layer.value.fields
    assert (layer.name_span.line, layer.name_span.column) == (2, 1)
    assert (layer.value.span.line, layer.value.span.column) == (2, 7)
    assert layer.value.span.text.startswith("{")
    assert layer.value.span.text.endswith("}")
    assert (name.value.span.line, name.value.span.column, name.value.span.text) == (3, 9, '"conv1" "x"')
    assert name.span.text == 'name: "conv1" "x"'
    assert (first.value.span.line, first.value.span.column) == (4, 9)
    assert (second.value.span.line, second.value.span.column, second.value.span.text) == (5, 5, "-2")
    assert tree.span.text == tree.span.source.text


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: 1\nb c", 2, 3, "expected `:` or `{` after a field name, found `c`"),
        ("a:\n}", 2, 1, "`}` closes nothing"),
        ("a {\n  b: }\n}", 2, 6, "expected a value, found `}`"),
        ("a: ,", 1, 4, "expected a value, found `,`"),
        ("a: 1 2", 1, 6, "expected a field name or the end of the file, found `2`"),
        ("a: [1 2]", 1, 7, "expected `,` or `]`, found `2`"),
        ("a: [1, ]", 1, 8, "expected a value, found `]`"),
        ("a: [1}", 1, 6, "expected `,` or `]`, found `}`"),
        ("a [1]", 1, 4, "expected a message in `{ }` or `]`, found `1`"),
        ("a < b: 1 }", 1, 10, "expected a field name or `>`, found `}`"),
        ("a: -x", 1, 4, "`-` must stand before a number, not before `x`"),
        ("a: 12ab", 1, 4, "`12ab` is not a number"),
        ("a: 1.2.3", 1, 4, "`1.2.3` is not a number"),
        ("a: 0x", 1, 4, "`0x` is not a number"),
        ("a: 089", 1, 4, "`089` begins with 0, so it is octal, but 8 and 9 are not octal digits"),
        ('a: "x\nb: 1', 1, 4, "a string is not closed on its line"),
        (r'a: "x\q"', 1, 6, r"`\q` is not an escape sequence"),
        (r'a: "\400"', 1, 5, r"`\400` is not an escape sequence"),
        (r'a: "é\ud800"', 1, 6, r"`\ud800` is not a character"),
        (r'a: "\U00110000"', 1, 5, r"`\U00110000` is not a character"),
        ("a: 1e999", 1, 4, "`1e999` is too large for a floating-point number"),
        ("a: 1\n// b", 2, 1, "unexpected character `/`"),
        ("a\uff1a1", 1, 2, "unexpected character `\uff1a` (U+FF1A)"),
        ("a:\u3000 1", 1, 3, "unexpected character (U+3000)"),
        ("a: \x00", 1, 4, "unexpected character (U+0000)"),
        ("a: " + "9" * 5000, 1, 4, "a number may have at most 400 characters"),
    ],
)
def test_a_mistake_is_told_in_plain_words_where_it_is(text: str, line: int, column: int, message: str) -> None:
    (diagnostic,) = refused(text).diagnostics
    assert diagnostic.message == message
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.column) == (line, column)
    assert not re.search(r"\b[A-Z_]{4,}\b", diagnostic.message)


def test_a_missing_brace_names_the_one_that_is_open() -> None:
    (diagnostic,) = refused('a {\n  s: "}" # }\n  b {\n  }\n').diagnostics
    assert diagnostic.message == "`}` is missing at the end of the file"
    (opened,) = diagnostic.related
    assert (opened.span.line, opened.span.column) == (1, 3)
    assert diagnostic.help == "close what line 1 opens"


def test_a_wrong_bracket_names_the_one_that_is_open() -> None:
    (diagnostic,) = refused("a {\n b: 1\n >").diagnostics
    (opened,) = diagnostic.related
    assert (opened.span.line, opened.span.column) == (1, 3)


@pytest.mark.parametrize("opening", ["a{", "a:<", "a:[{", "a"])
def test_hostile_nesting_is_refused(opening: str) -> None:
    (diagnostic,) = refused(opening * 100_000).diagnostics
    assert diagnostic.code in ("AM101", "AM103")
    (deep,) = refused("a{" * (syntax.MAX_DEPTH + 1) + "}" * (syntax.MAX_DEPTH + 1)).diagnostics
    assert deep.code == "AM103"
    assert deep.span is not None
    assert deep.span.start == 2 * syntax.MAX_DEPTH + 1


def test_nesting_up_to_the_limit_is_read() -> None:
    parse("a{" * syntax.MAX_DEPTH + "}" * syntax.MAX_DEPTH)


def test_a_text_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "MAX_TEXT_LENGTH", 10)
    assert refused("a: 1 b: 2 c: 3").diagnostics[0].code == "AM102"


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
WORDS = NAMES.filter(lambda word: word.lower() not in ("inf", "infinity", "nan"))
SPAN = SourceFile("", "").span(0, 0)


def scalar(kind: str, value: object) -> TextScalar:
    return TextScalar(kind, value, SPAN)  # type: ignore[arg-type]  # hypothesis gives matching pairs


SCALARS = st.one_of(
    st.integers(-(2**70), 2**70).map(lambda value: scalar("int", value)),
    st.floats(allow_nan=False).map(lambda value: scalar("float", value)),
    st.binary(max_size=12).map(lambda value: scalar("string", value)),
    st.text(max_size=12).map(lambda value: scalar("string", value.encode())),
    WORDS.map(lambda value: scalar("identifier", value)),
)


def message(fields: list[tuple[str, TextScalar | TextMessage]]) -> TextMessage:
    return TextMessage(tuple(TextField(name, SPAN, value, SPAN) for name, value in fields), SPAN)


MESSAGES: st.SearchStrategy[TextMessage] = st.recursive(
    st.lists(st.tuples(NAMES, SCALARS), max_size=4).map(lambda fields: message([*fields])),
    lambda inner: st.lists(st.tuples(NAMES, st.one_of(SCALARS, inner)), max_size=4).map(message),
    max_leaves=12,
)


@given(MESSAGES)
def test_printing_and_parsing_gives_the_same_tree(tree: TextMessage) -> None:
    assert parse(print_prototext(tree)) == tree


@given(st.text(alphabet="ab:{}<>[],;#'\"\\\n-.0189ex \ufeffé", max_size=40))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text)
    except DiagnosticError as problem:
        found = problem
    else:
        return
    assert found.diagnostics[0].span is not None
    assert str(found)


@given(st.floats(width=32, allow_nan=False))
def test_the_short_text_of_a_float32_gives_it_back(value: float) -> None:
    text = float32_text(value)
    assert as_float32(float(text)) == as_float32(value)
    assert float32_text(as_float32(value)) == text


def test_a_float32_reads_as_written() -> None:
    assert as_float32(0.999999) == 0.999999
    assert float32_text(0.10000000149011612) == "0.1"
    with pytest.raises(OverflowError):
        as_float32(1e39)


@needs_assets
@needs_golden
def test_every_real_prototxt_is_read_and_printed_back() -> None:
    paths = [*ASSETS.glob("caffe/**/*.prototxt"), *GOLDEN.glob("caffe*/**/*.prototxt")]
    assert len(paths) > 500
    for path in paths:
        tree = parse(path.read_text(encoding="utf-8"))
        assert tree.fields
        assert parse(print_prototext(tree)) == tree


def test_a_long_malformed_number_is_refused_in_linear_time() -> None:
    assert refused("a: " + "1" * 1_000_000 + "x").diagnostics[0].code == "AM101"
