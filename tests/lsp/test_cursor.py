from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.lsp.completion import complete
from amctc.lsp.cursor import place_at, rough_tree
from amctc.lsp.hover import hover
from amctc.source import SourceFile
from amctc.text.prototext import TextMessage, parse_prototext
from tests.lsp.marked import at_mark


@pytest.mark.parametrize(
    ("text", "path", "role", "name", "word"),
    [
        ("|", "", "name", None, ""),
        ("ba|tch_num: 1", "", "name", None, "batch_num"),
        ("batch_num: 1\n|", "", "name", None, ""),
        ("batch_num: |", "", "value", "batch_num", ""),
        ("batch_num: 1|2", "", "value", "batch_num", "12"),
        ("batch_num:\n|", "", "name", None, ""),
        ('skip_layers: "co|nv"', "", "value", "skip_layers", "conv"),
        ('skip_layers: "co|\nbatch_num: 1', "", "value", "skip_layers", "co"),
        ("skip_layers: '|'", "", "value", "skip_layers", ""),
        ('skip_layers: ["a", |]', "", "value", "skip_layers", ""),
        ('skip_layers: ["a", "|', "", "value", "skip_layers", ""),
        ('skip_layers: ["a",\n  |\n]', "", "value", "skip_layers", ""),
        ('skip_layers: ["a"]\n|', "", "name", None, ""),
        ("common_config { | }", "common_config", "name", None, ""),
        ("common_config {|", "common_config", "name", None, ""),
        ("common_config {\n  arq_quantize {\n    ch|\n  }\n}", "common_config.arq_quantize", "name", None, "ch"),
        (
            "common_config: < arq_quantize: { channel_wise: | } >",
            "common_config.arq_quantize",
            "value",
            "channel_wise",
            "",
        ),
        ("common_config { arq_quantize {} | }", "common_config", "name", None, ""),
        ("a { b: }\n|", "", "name", None, ""),
        ("a: [{ b: | }, { c: 1 }]", "a", "value", "b", ""),
        ("a: [{ b: 1 }, { | }]", "a", "name", None, ""),
        ("skip_lay|\ncommon_config { }", "", "name", None, "skip_lay"),
        ("num_bits: |\nchannel_wise: true", "", "value", "num_bits", ""),
        ("a { # }\n  |", "a", "name", None, ""),
        ("} |", "", "name", None, ""),
    ],
)
def test_the_place_of_the_cursor_is_told(text: str, path: str, role: str, name: str | None, word: str) -> None:
    bare, offset = at_mark(text)
    place = place_at(bare, offset)
    assert place is not None
    assert (".".join(place.message.path), place.role, place.name, place.word(bare)) == (path, role, name, word)


@pytest.mark.parametrize("text", ["# a|", "a: 1 # b|c\n", 'a: "x"|', "a: ['x'|", "common_config |"])
def test_in_comments_behind_strings_and_behind_names_there_is_no_place(text: str) -> None:
    place = place_at(*at_mark(text))
    assert place is None


def test_the_rough_tree_of_a_right_text_has_its_names() -> None:
    text = 'a: 1 b { c: "x" d: [1, -2] e [{ f: 1 }] } # g: 1\nh: \'y\' "z"; i { j: 1 }'

    def names(message: TextMessage) -> object:
        return [
            (entry.name, names(entry.value) if isinstance(entry.value, TextMessage) else None)
            for entry in message.fields
        ]

    def once(message: TextMessage) -> object:
        """With lists as one field, which they are on the screen."""
        seen: dict[int, object] = {}
        for entry in message.fields:
            inner = once(entry.value) if isinstance(entry.value, TextMessage) else None
            seen[entry.name_span.start] = (entry.name, inner)
        return list(seen.values())

    assert names(rough_tree(text)) == once(parse_prototext(SourceFile("", text)))


SNIPPETS = [
    "batch_num",
    "common_config",
    "arq_quantize",
    ":",
    " ",
    "{",
    "}",
    "<",
    ">",
    "[",
    "]",
    '"',
    "'",
    "\\",
    "#",
    "\n",
    ",",
    "1",
    "é",
    "\r\n",
]


@given(st.lists(st.sampled_from(SNIPPETS), max_size=12).map("".join), st.integers(0, 40))
def test_any_text_has_an_answer_at_any_place(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    for found in complete(text, offset, None):
        assert 0 <= found.start <= found.end <= len(text)
    said = hover(text, offset, None)
    assert said is None or 0 <= said.start < said.end <= len(text)


def test_nesting_without_end_is_no_trouble() -> None:
    deep = "a {" * 20_000
    place = place_at(deep, len(deep))
    assert place is not None
    rough_tree(deep)
    assert complete("common_config {" * 5000, 15 * 5000, None) == ()
