"""A parser that is loaded from its tables is the one that its grammar gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import lark
import pytest
from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from amctc.text import parser_tables
from amctc.text.compile_grammars import compiled_grammars
from amctc.text.parser_tables import load_tables
from amctc.text.parsers import STARTS, grammar_text, parser_of, table_options

POSITIONS = {"propagate_positions": True}

TEXTS = [
    ("graph", "graph", 'graph "g" { node "a" caffe.Input ("b".1) { attrs {x: [-1.5e3, b"0f", y]} out "a" f [1, 2] } }'),
    ("json", "start", '{"a": [1.5e3, true, {"b": null}], "c": "\\n"}'),
    ("pattern", "pattern", '{a:conv & !b|C? => BatchNorm[x.y != -1.5, z="w"], .} -> (D -> E+)'),
    ("pipeline", "pipeline", "fixpoint{rounds=2}(remove-identity,merge), quantize{algorithm=arq a_b=1}"),
    ("pipeline", "targets", "caffe,other{level=2,names=short}"),
    ("preprocess", "start", 'resize-short=256@bicubic,center-crop=227x2,bgr,mean=-1:.5:2e3,m="a ""b",n=X.NPY'),
    ("proto2", "start", 'syntax="proto2"; /* ! */ message M { optional .a.B to = 1 [x = -1]; reserved 2 to max; }'),
    ("prototext", "start", "a: 'x' \"y\" b { [c/d] < e: -0x1f > }; f: [1, {}] # g"),
]


@pytest.fixture
def no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is taken for that of the tables."""
    monkeypatch.setattr(parser_tables, "files", lambda package: tmp_path)
    (tmp_path / "tables").mkdir()
    return tmp_path / "tables"


def loaded(grammar: str) -> Lark | None:
    return load_tables(grammar, grammar_text(grammar), table_options(grammar), POSITIONS)


def test_the_tables_are_current() -> None:
    folder = files("amctc.grammar").joinpath("tables")
    assert {place.name for place in folder.iterdir()} == set(compiled_grammars())
    for name, content in compiled_grammars().items():
        assert folder.joinpath(name).read_text(encoding="utf-8") == content, f"{name}: run `make tables`"


def test_every_grammar_has_tables() -> None:
    names = {place.name for place in files("amctc.grammar").iterdir()}
    assert {f"{grammar}.lark" for grammar in STARTS} == {name for name in names if name.endswith(".lark")}


@pytest.mark.parametrize(("grammar", "start", "text"), TEXTS)
def test_tables_and_grammar_agree_on_trees_and_mistakes(grammar: str, start: str, text: str) -> None:
    by_tables = loaded(grammar)
    by_grammar = Lark(grammar_text(grammar), **table_options(grammar), propagate_positions=True)
    assert by_tables is not None
    assert outcome(by_grammar, text, start)[0] == "tree"
    for variant in variants(text):
        assert outcome(by_tables, variant, start) == outcome(by_grammar, variant, start), variant


def variants(text: str) -> Iterator[str]:
    """A text as it is, cut off, and with one character more or less, at each place."""
    yield text
    for at in range(len(text)):
        yield text[:at]
        yield text[:at] + text[at + 1 :]
        yield from (text[:at] + sign + text[at:] for sign in " ,x1}\\§")


def outcome(parser: Lark, text: str, start: str) -> tuple[Any, ...]:
    """All that can be seen of a parse: the tree with its places, or the mistake with what it says was expected."""
    try:
        return "tree", shape(parser.parse(text, start=start))
    except UnexpectedInput as mistake:
        place = type(mistake), mistake.line, mistake.column, mistake.pos_in_stream
        if isinstance(mistake, UnexpectedToken):
            return *place, shape(mistake.token), frozenset(mistake.expected), frozenset(mistake.accepts or ())
        assert isinstance(mistake, UnexpectedCharacters)
        return *place, frozenset(mistake.allowed or ()), str(mistake)


def shape(part: Tree[Token] | Token) -> Any:
    if isinstance(part, Token):
        return (
            part.type,
            str(part),
            part.line,
            part.column,
            part.start_pos,
            part.end_line,
            part.end_column,
            part.end_pos,
        )
    return str(part.data), vars(part.meta), [shape(child) for child in part.children]


class Count(Transformer[Token, int]):
    def targets(self, children: list[Any]) -> int:
        return len(children)


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"[]", b"{}", b'{"stamp": null}'])
def test_without_usable_tables_the_grammar_is_read(no_tables: Path, content: bytes | None) -> None:
    if content is not None:
        (no_tables / "pipeline.json").write_bytes(content)
    assert loaded("pipeline") is None
    assert parser_of("pipeline", transformer=Count()).parse("a,b{c=d}", start="targets") == 2


def test_a_transformer_works_with_tables() -> None:
    assert loaded("pipeline") is not None
    assert parser_of("pipeline", transformer=Count()).parse("a,b{c=d}", start="targets") == 2


def test_tables_of_another_grammar_are_not_used(no_tables: Path) -> None:
    tables = parser_tables.print_tables(grammar_text("json"), table_options("json"))
    (no_tables / "json.json").write_text(tables, encoding="utf-8")
    assert loaded("json") is not None
    assert load_tables("json", f"{grammar_text('json')}\n", table_options("json"), POSITIONS) is None
    assert load_tables("json", grammar_text("json"), {**table_options("json"), "start": ["value"]}, POSITIONS) is None


def test_tables_of_another_lark_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded("json") is not None
    monkeypatch.setattr(lark, "__version__", "0.0.0")
    assert loaded("json") is None


def test_tables_are_plain_json_without_what_depends_on_the_python_that_wrote_them() -> None:
    tables = json.loads(files("amctc.grammar").joinpath("tables", "preprocess.json").read_text(encoding="ascii"))
    widths = [entry["pattern"]["_width"] for entry in tables["memo"] if "_width" in entry.get("pattern", ())]
    assert widths
    assert set(widths) == {None}
