from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.source import SourceFile
from amctc.text.literals import quote
from amctc.text.prototext import TextField, TextMessage, TextScalar, parse_prototext, print_prototext
from amctc.text.prototext_format import WIDTH, format_prototext
from amctc.text.prototext_tree import ScalarKind
from tests.shared_files import ROOT, SHARED

COMMENT = re.compile(r""""[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'|(#[^\n]*)""")


def tidy(text: str) -> str:
    return format_prototext(SourceFile("p.cfg", text))


def parse(text: str) -> TextMessage:
    return parse_prototext(SourceFile("p.cfg", text))


def comments(text: str) -> Counter[str]:
    return Counter(found[1].rstrip(" \t\r\f\v\ufeff") for found in COMMENT.finditer(text) if found[1])


def lists(text: str) -> int:
    """How many lists are in a text: `[` outside strings and comments that does not begin a name with points."""
    bare = COMMENT.sub("", text)
    return len(re.findall(r"\[(?![ \t]*[A-Za-z_]\w*[./])", bare))


def plain(message: TextMessage) -> object:
    """A tree that compares equal to another of the same values, NaN among them."""
    return tuple((entry.name, _plain_value(entry.value)) for entry in message.fields)


def _plain_value(value: TextScalar | TextMessage) -> object:
    if isinstance(value, TextMessage):
        return plain(value)
    if isinstance(value.value, float) and math.isnan(value.value):
        return value.kind, "nan"
    return value.kind, value.value


def hold(text: str) -> None:
    """Check the laws of formatting on one text."""
    done = tidy(text)
    assert plain(parse(done)) == plain(parse(text))
    assert tidy(done) == done
    assert comments(done) == comments(text)
    assert lists(done) == lists(text)
    lines = done.split("\n")
    assert all(line == line.rstrip(" \t") for line in lines)
    assert "\n\n\n" not in done.replace("\r", "")


def test_a_policy_gets_one_field_a_line_and_two_spaces_a_level() -> None:
    text = """\
common_config : { ifmr_quantize : {num_bits:8, search_step : 0.01; } arq_quantize < channel_wise:true > }
skip_layers:"a"skip_layers : 'b'
override_layer_types { layer_type: 'ReLU' calibration_config {} }"""
    assert (
        tidy(text)
        == """\
common_config {
  ifmr_quantize {
    num_bits: 8
    search_step: 0.01
  }
  arq_quantize {
    channel_wise: true
  }
}
skip_layers: "a"
skip_layers: "b"
override_layer_types {
  layer_type: "ReLU"
  calibration_config {}
}
"""
    )


def test_comments_stay_where_they_stand() -> None:
    text = """\
   # head

     # of the file
a: 1 # one
   # below one
m { # opens
      # first inside
  b:2# two
\t
\t
\t
    # before c

  c: 3

  # before the brace
}   # closes
# above the end


# the end   """
    assert (
        tidy(text)
        == """\
# head

# of the file
a: 1  # one
# below one
m {  # opens
  # first inside
  b: 2  # two

  # before c

  c: 3

  # before the brace
}  # closes
# above the end

# the end
"""
    )


def test_comments_of_neighbouring_lines_are_aligned() -> None:
    assert (
        tidy("a: 1 # one\nlonger: 22 # two\n\nb: 3 # three\nm { # in\n c: 1 # four\n}")
        == """\
a: 1        # one
longer: 22  # two

b: 3  # three
m {   # in
  c: 1  # four
}
"""
    )


def test_a_comment_inside_a_field_moves_above_it() -> None:
    text = "x: 0\n\na # one\n: # two\n - # three\n 7 # four\n, # five\nb: 1"
    assert tidy(text) == "x: 0\n\n# one\n# two\n# three\na: -7  # four\n# five\nb: 1\n"


def test_a_comment_after_the_separator_stays_at_the_end_of_the_line() -> None:
    assert (
        tidy("a: 1, # one\nb: [1, # two\n 2 # three\n , # four\n 3]; # five")
        == """\
a: 1  # one
b: [
  1,  # two
  2,  # three
  # four
  3
]  # five
"""
    )


def test_lists_stay_lists() -> None:
    assert (
        tidy("a:[1,-2 , inf]b:[ ]c []d [{x:1},<>]e: [\n'f',\n'g']")
        == """\
a: [1, -2, inf]
b: []
c: []
d: [
  {
    x: 1
  },
  {}
]
e: [
  "f",
  "g"
]
"""
    )


def test_a_list_that_is_too_long_for_a_line_is_broken() -> None:
    item = '"' + "x" * 40 + '"'
    fits = f"names: [{item}, {item}]"
    assert tidy(fits) == fits + "\n"
    assert tidy(f"m {{ much_longer_{fits} }}") == (f"m {{\n  much_longer_names: [\n    {item},\n    {item}\n  ]\n}}\n")
    assert len(fits) <= WIDTH < len(f"  much_longer_{fits}")


@pytest.mark.parametrize(
    ("written", "formatted"),
    [
        ("""a: 'say "hi"'""", r'a: "say \"hi\""'),
        (r"""a: 'it\'s \\ \" \x41'""", r'''a: "it's \\ \" \x41"'''),
        (r"""a: "it\'s" """, r'''a: "it\'s"'''),
        ("a: 'x'  \"y\"", 'a: "x" "y"'),
        ("a:\n  'x'", 'a: "x"'),
        ("a: 'x' # one\n  'y' # two", 'a:\n  "x"  # one\n  "y"  # two'),
        ("a: [ 'x'\n'y', 'z' ]", 'a: [\n  "x"\n  "y",\n  "z"\n]'),
        ("a: 0X1f", "a: 0X1f"),
        ("a: - 1E+3f", "a: -1E+3f"),
        ("a: -  inf", "a: -inf"),
        ("a: .5 b: 017", "a: .5\nb: 017"),
        ("[ a.b/c-d ] : 1 [x] {}", "[a.b/c-d]: 1\n[x] {}"),
        ("a: FOO [e.f]: 1", "a: FOO\n[e.f]: 1"),
        ("a: '# no comment'", 'a: "# no comment"'),
        ("\ufeffa: 1", "a: 1"),
        ("a: 1;", "a: 1"),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_a_value_keeps_its_spelling_but_for_quotes_and_spaces(written: str, formatted: str) -> None:
    assert tidy(written) == (formatted + "\n" if formatted else "")
    hold(written)


def test_line_ends_are_those_of_the_first_line() -> None:
    assert tidy("a:1 # x\r\nb:2\r\n") == "a: 1  # x\r\nb: 2\r\n"
    assert tidy("a:1\nb:2\r\n") == "a: 1\nb: 2\n"
    hold("a:1 # x\r\n\r\n\r\nm{ # y\r\n}\r\n")


def test_a_syntax_error_is_told_with_its_place() -> None:
    with pytest.raises(DiagnosticError) as caught:
        tidy("a: 1\nb {")
    (problem,) = caught.value.diagnostics
    assert problem.code == "AM101"
    assert problem.span is not None
    assert problem.span.line == 2


# Random texts: random trees, written with random separators, brackets, comments, blanks and lists.

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}|\[[a-z_]+(?:\.[a-z_]+){1,2}\]", fullmatch=True)
numbers = st.sampled_from(["0", "-7", "- 7", "0x1F", "017", "1e-10", "-2.5F", ".5", "1.", "inf", "-inf", "nan", "1E+3"])
words = st.sampled_from(["true", "false", "MAX", "e", "x1", "information"])
quoted = st.binary(max_size=6).map(quote) | st.text("ab'\"#\\x41{}[]", max_size=6).map(lambda t: quote(t.encode()))
single = st.text('abc"#{}[],;: ', max_size=6).map(lambda t: f"'{t}'") | st.just(r"'it\'s \"q\" \\'")
literals = quoted | single


@st.composite
def gaps(draw: st.DrawFn, least: str = "") -> str:
    parts = draw(
        st.lists(
            st.sampled_from([" ", "\n", "\n\n", "\n\n\n", "\t", "\r\n", "# c\n", " #d \n", "#\n#'\"{[\n"]), max_size=3
        )
    )
    return "".join(parts) or least


@st.composite
def scalars(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return draw(numbers).replace(" ", draw(gaps()) if draw(st.booleans()) else " ")
    if kind == 1:
        return draw(words)
    pieces = draw(st.lists(literals, min_size=1, max_size=3))
    return draw(gaps()).join(pieces)


@st.composite
def messages(draw: st.DrawFn, depth: int) -> str:
    opening, closing = draw(st.sampled_from([("{", "}"), ("<", ">")]))
    return opening + draw(texts(depth - 1)) + closing


@st.composite
def texts(draw: st.DrawFn, depth: int = 3) -> str:
    parts = [draw(gaps())]
    for _ in range(draw(st.integers(0, 3))):
        parts += [draw(names), draw(gaps())]
        kind = draw(st.integers(0, 3 if depth else 1))
        if kind == 0:
            parts += [":", draw(gaps()), draw(scalars())]
        elif kind == 1:
            items = draw(st.lists(scalars(), max_size=3))
            parts += [":", draw(gaps()), _joined(draw, items)]
        elif kind == 2:
            parts += [draw(st.sampled_from(["", ":"])), draw(gaps()), draw(messages(depth))]
        else:
            items = draw(st.lists(messages(depth), max_size=2))
            parts += [draw(st.sampled_from(["", ":"])), draw(gaps()), _joined(draw, items)]
        parts += [draw(st.sampled_from(["", "", ",", ";"])), draw(gaps("\n"))]
    return "".join(parts)


def _joined(draw: st.DrawFn, items: list[str]) -> str:
    inner = ",".join(draw(gaps()) + item + draw(gaps()) for item in items)
    return f"[{draw(gaps())}{inner}]"


@given(texts())
def test_formatting_keeps_the_tree_the_comments_and_the_lists(text: str) -> None:
    hold(text)


def trees() -> st.SearchStrategy[TextMessage]:
    nowhere = SourceFile("", "").span(0, 0)

    def scalar(kind: ScalarKind, value: int | float | bytes | str) -> TextScalar:
        return TextScalar(kind, value, nowhere)

    plain_scalars = (
        st.integers().map(lambda n: scalar("int", n))
        | st.floats(allow_nan=False).map(lambda x: scalar("float", x))
        | st.binary(max_size=8).map(lambda b: scalar("string", b))
        | words.map(lambda w: scalar("identifier", w))
    )

    def message(values: st.SearchStrategy[TextScalar | TextMessage]) -> st.SearchStrategy[TextMessage]:
        fields = st.tuples(names, values).map(lambda pair: TextField(pair[0], nowhere, pair[1], nowhere))
        return st.lists(fields, max_size=4).map(lambda found: TextMessage(tuple(found), nowhere))

    return st.recursive(message(plain_scalars), lambda inner: message(plain_scalars | inner), max_leaves=8)


@given(trees())
def test_the_text_of_a_tree_is_formatted_already_but_for_empty_messages(tree: TextMessage) -> None:
    printed = print_prototext(tree)
    assert tidy(printed) == re.sub(r"\{\n *\}", "{}", printed)
    assert parse(tidy(printed)) == tree


def samples() -> Iterator[Path]:
    for folder in (SHARED, ROOT / "examples", ROOT / "benchmarks"):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix in (".cfg", ".prototxt", ".pbtxt") and path.is_file():
                yield path


def test_every_sample_is_formatted_without_a_loss() -> None:
    found = 0
    for path in samples():
        text = path.read_text(encoding="utf-8")
        try:
            parse(text)
        except DiagnosticError:
            continue
        hold(text)
        found += 1
    assert found >= 1
    if SHARED.is_dir():
        assert found > 500
