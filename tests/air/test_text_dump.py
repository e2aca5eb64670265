"""Text dumps: what is written reads back, both readers read the same, and a hostile text ends in a diagnostic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from amctc.air import text_dump
from amctc.air.files import MODEL, air_bytes, read_air
from amctc.air.schema import ge_schema, new
from amctc.air.text_dump import dump_name, dump_text, read_text_dump
from amctc.air.text_scan import scan_text
from amctc.diagnostics import Collector, DiagnosticError
from amctc.source import SourceFile
from amctc.text.checked import to_proto
from amctc.text.prototext import parse_by_grammar
from amctc.text.schema_check import check_message
from tests.air.ge_files import WHOLE, messages
from tests.shared_files import needs_golden

by_name = pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)


def by_grammar(text: str) -> Any:
    """The message of a text by the reader that tells mistakes."""
    collector = Collector()
    tree = parse_by_grammar(SourceFile("dump.txt", text))
    checked = check_message(tree, ge_schema().descriptor(MODEL), collector, unknown_fields="error")
    collector.raise_errors()
    return to_proto(checked, ge_schema().message(MODEL))


def scanned(text: str) -> Any:
    """The message of a text by the shortcut, None where it leaves the text to the grammar."""
    message = new("ModelDef")
    return message if scan_text(text, message) is None else None


def refused(text: str, path: Path) -> str:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DiagnosticError) as caught:
        read_text_dump(path)
    return caught.value.diagnostics[0].code


@needs_golden
@by_name
def test_a_dump_reads_back_to_an_equal_message(path: Path, tmp_path: Path) -> None:
    model = read_air(path)
    text = dump_text(model)
    place = tmp_path / dump_name(0, "test")
    place.write_text(text, encoding="utf-8")
    assert air_bytes(read_text_dump(place)) == air_bytes(model)
    assert air_bytes(by_grammar(text)) == air_bytes(model)
    assert scanned(text) == model
    assert text_format.Parse(text, new("ModelDef")) == model


@needs_golden
@by_name
def test_protobufs_own_text_reads_to_an_equal_message(path: Path) -> None:
    model = read_air(path)
    assert scanned(text_format.MessageToString(model)) == model


@needs_golden
@by_name
def test_a_dump_of_level_2_has_all_but_the_values_of_constants(path: Path) -> None:
    model = read_air(path)
    found = scanned(dump_text(model, 2))
    for graph in model.graph:
        for op in graph.op:
            if op.type == "Const":
                del op.attr["value"]
    assert found == model


def test_level_2_leaves_out_definitions_of_ops_too() -> None:
    model = new("ModelDef")
    op = model.graph.add(name="g").op.add(name="n", type="FrameworkOp")
    for name in ("node_def", "op_def", "func_def", "value", "kept"):
        op.attr[name].s = b"x"
    model.graph[0].attr["value"].s = b"y"
    found = scanned(dump_text(model, 2))
    assert set(found.graph[0].op[0].attr) == {"value", "kept"}
    assert set(found.graph[0].attr) == {"value"}


def test_dumps_are_numbered_with_eight_digits() -> None:
    assert dump_name(3, "Build") == "ge_proto_00000003_Build.txt"


def test_maps_are_written_by_their_keys() -> None:
    model = new("ModelDef")
    for name in "zab":
        model.attr[name].i = 1
    assert dump_text(model).split("\n")[:4] == ["attr {", '  key: "a"', "  value {", "    i: 1"]


def odd_values() -> Any:
    """A message of every kind of field, with the values that are easily lost."""
    model = new("ModelDef")
    numbers = (0.0, -0.0, 1e-45, 3.4028234663852886e38, 0.1, float("inf"), float("-inf"), 1e10, -1.5)
    model.attr["floats"].list.f.extend(numbers)
    model.attr["zero"].f = -0.0
    model.attr["bytes"].s = bytes(range(256))
    model.attr["text"].s = 'é "\\\n\r\t\0?? 汉'.encode()
    model.attr["octal"].s = b"\0001\x0123\x7f"
    model.attr["empty"].s = b""
    model.attr["least"].i = -(1 << 63)
    model.attr["most"].list.i.extend([(1 << 63) - 1, 0])
    model.attr["truth"].list.b.extend([True, False])
    model.attr["none"].SetInParent()
    model.attr["lists"].list_list_int.list_list_i.add()
    model.attr["\u2028 'key'\n"].expression = b"x"
    model.version = (1 << 32) - 1
    desc = model.graph.add(name="汉").op.add().input_desc.add(dtype=41, size=-1)
    desc.shape.SetInParent()
    group = desc.attr_groups.attr_group_def.add().shape_env_attr_group
    group.symbol_to_value["s0"] = -1
    group.value_to_symbol[-5].symbols.append("s0")
    group.value_to_symbol[7].SetInParent()
    group.unique_sym_id = (1 << 64) - 1
    return model


def test_odd_values_read_back(tmp_path: Path) -> None:
    model = odd_values()
    text = dump_text(model)
    for found in (scanned(text), by_grammar(text), text_format.Parse(text, new("ModelDef"))):
        assert air_bytes(found) == air_bytes(model)
    assert len(list(messages(model))) > 20


def test_a_number_that_is_none_reads_back() -> None:
    model = new("ModelDef")
    model.attr["x"].f = float("nan")
    assert air_bytes(scanned(dump_text(model))) == air_bytes(by_grammar(dump_text(model)))
    assert "f: nan" in dump_text(model)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        'name: "a"',
        'attr { key: "a" value { i: 1 } } attr { key: "a" value { f: 2 } }',
        'attr { key: "a" value { i: 1 f: 2 } }',
        'attr: { key: "a" value: { f: 1 } }  # comment',
        'attr { key: "a" value { list { f: 1e3 f: -0 f: .5e0 } } }',
        'attr { key: "a" value { f: -inf } }',
        'attr { key: "a" value { s: "\\x41\\102\\n" } }',
    ],
)
def test_the_shortcut_reads_what_the_grammar_reads(text: str) -> None:
    found = scanned(text)
    assert found is None or air_bytes(found) == air_bytes(by_grammar(text))


@pytest.mark.parametrize(
    "text",
    [
        'name: "a" "b"',
        "name: 'a'",
        'attr < key: "a" value < i: 1 > >',
        'attr { value { i: 1 } key: "a" }',
        'attr { key: "a" }',
        'attr { key: "a" value { list { i: [1, 2] } } }',
        'attr { key: "a" value { i: 0x10 } }',
        'attr { key: "a" value { i: 010 } }',
        'attr { key: "a" value { f: 1.5f } }',
        'attr { key: "a" value { b: 1 } }',
        'name: "a", version: 1;',
    ],
)
def test_what_is_unusual_is_left_to_the_grammar(text: str, tmp_path: Path) -> None:
    assert scanned(text) is None
    path = tmp_path / "dump.txt"
    path.write_text(text, encoding="utf-8")
    assert air_bytes(read_text_dump(path)) == air_bytes(text_format.Parse(text, new("ModelDef")))


def test_rare_escapes_and_numbers_are_those_of_the_grammar(tmp_path: Path) -> None:
    text = 'attr { key: "a" value { s: "\\u00e9\\?" } } attr { key: "b" value { f: 010 } }'
    assert scanned(text) is None
    path = tmp_path / "dump.txt"
    path.write_text(text, encoding="utf-8")
    found = read_text_dump(path)
    assert (found.attr["a"].s, found.attr["b"].f) == ("é?".encode(), 8.0)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("graph {", "AM101"),
        ("graph }", "AM101"),
        ("}", "AM101"),
        ('name: "a', "AM101"),
        ('name: "\\400"', "AM104"),
        ('name: "\\q"', "AM104"),
        ("name: 5", "AM111"),
        ('name: "\\377"', "AM111"),
        ("name { }", "AM111"),
        ("graph: 5", "AM111"),
        ("version: -1", "AM112"),
        ("version: 4294967296", "AM112"),
        ('attr { key: "a" value { i: 9223372036854775808 } }', "AM112"),
        ('attr { key: "a" value { f: 1e39 } }', "AM112"),
        ('attr { key: "a" value { f: 1e999 } }', "AM104"),
        ('attr { key: "a" value { f: nothing } }', "AM111"),
        ('attr { key: "a" value { b: maybe } }', "AM111"),
        ('attr { key: "a" value { list { val_type: VT_LIST_FOO } } }', "AM113"),
        ('attr { key: "a" value { list { val_type: 99 } } }', "AM113"),
        ("graph { opp { } }", "AM110"),
        ("127: 5", "AM101"),
        ("graph { op { attr { value " + "{ list { na { attr { value " * 5000, "AM103"),
        ("{" * 100_000, "AM101"),
        ("graph {" * 20_000, "AM103"),
        ("graph {} " * 20 + "9", "AM101"),
    ],
)
def test_a_wrong_text_ends_in_a_diagnostic(text: str, code: str, tmp_path: Path) -> None:
    assert scanned(text) is None
    assert refused(text, tmp_path / "dump.txt") == code


def test_of_a_long_text_only_the_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_dump, "_LONGEST_EXPLAINED", 20)
    assert refused('name: "a"\ngraph { }\nversion: 9999999999\n', tmp_path / "dump.txt") == "AM101"
    with pytest.raises(DiagnosticError) as caught:
        read_text_dump(tmp_path / "dump.txt")
    assert caught.value.diagnostics[0].span is not None
    assert caught.value.diagnostics[0].span.line == 3
    assert refused("graph { graph { ", tmp_path / "dump.txt") in ("AM101", "AM110")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DiagnosticError, match="AM105"):
        read_text_dump(path)
