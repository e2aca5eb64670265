from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor

from amctc.diagnostics import Collector, Diagnostic, Level
from amctc.source import SourceFile
from amctc.text.checked import CheckedMessage, text_to_plain, to_plain, to_proto
from amctc.text.plain import Symbol, plain_to_text
from amctc.text.proto_compiler import parse_schema
from amctc.text.proto_schema import load_schema
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import UnknownFields, check_message
from tests.shared_files import ASSETS, GOLDEN, SHARED, needs_assets, needs_golden

SCHEMA = parse_schema(
    SourceFile(
        "t.proto",
        """
        message M {
          enum E { LOW = 0; HIGH = 1; inf = 2; }
          optional int32 i = 1 [default = 5];
          optional uint32 u = 2;
          optional int64 l = 3;
          optional uint64 ul = 4;
          optional float f = 5 [default = 0.999];
          optional double d = 6;
          optional bool b = 7;
          optional string s = 8 [default = "x"];
          optional bytes raw = 9;
          optional E e = 10 [default = HIGH];
          optional M m = 11;
          repeated M ms = 12;
          repeated int32 many = 13;
          oneof choice { Req left = 14; Req right = 15; }
          map<string, int32> table = 16;
        }
        message Req { required string name = 1; optional int32 n = 2; }
        """,
    )
)
M = SCHEMA.descriptor("M")


def check(
    text: str, descriptor: Descriptor = M, unknown_fields: UnknownFields = "error"
) -> tuple[CheckedMessage, list[Diagnostic]]:
    collector = Collector()
    tree = parse_prototext(SourceFile("f.txt", text))
    return check_message(tree, descriptor, collector, unknown_fields=unknown_fields), collector.diagnostics


def clean(text: str, descriptor: Descriptor = M, unknown_fields: UnknownFields = "error") -> CheckedMessage:
    checked, diagnostics = check(text, descriptor, unknown_fields)
    assert diagnostics == []
    return checked


def test_scalars_have_the_type_of_their_field() -> None:
    checked = clean("i: -1 u: 0xF l: 010 ul: 18446744073709551615 f: 1 d: .5 s: 'é' raw: '\\377' e: LOW")
    expected = {
        "i": -1,
        "u": 15,
        "l": 8,
        "ul": 2**64 - 1,
        "f": 1.0,
        "d": 0.5,
        "s": "é",
        "raw": b"\xff",
        "e": "LOW",
    }
    for name, value in expected.items():
        assert checked.value(name) == value
        assert type(checked.value(name)) in (type(value), Symbol)


@pytest.mark.parametrize(
    ("word", "value"),
    [(w, True) for w in ("true", "True", "t", "1")] + [(w, False) for w in ("false", "False", "f", "0")],
)
def test_a_bool_has_eight_spellings(word: str, value: bool) -> None:
    assert clean(f"b: {word}").value("b") is value


def test_enums_may_be_numbers_and_may_be_called_inf() -> None:
    assert clean("e: 0").value("e") == "LOW"
    assert clean("e: inf").value("e") == "inf"


def test_an_absent_field_has_the_default_of_the_schema() -> None:
    checked = clean("")
    assert (checked.value("i"), checked.value("f"), checked.value("s"), checked.value("e")) == (
        5,
        0.999,
        "x",
        "HIGH",
    )
    assert not checked.has("i")
    assert checked.field("i") is None
    assert checked.message("m") is None
    assert checked.values("many") == ()
    with pytest.raises(KeyError):
        checked.value("none")
    with pytest.raises(TypeError):
        checked.value("many")


def test_the_last_of_several_counts_and_messages_are_put_together() -> None:
    checked = clean("i: 1 i: 2 m { i: 3 s: 'a' } m { i: 4 many: [1, 2] } many: 7")
    assert checked.value("i") == 2
    merged = checked.message("m")
    assert merged is not None
    assert (merged.value("i"), merged.value("s"), merged.values("many")) == (4, "a", (1, 2))
    assert to_plain(checked)["m"] == {"i": 4, "s": "a", "many": (1, 2)}


def test_places_are_those_of_the_text() -> None:
    checked = clean("i: 1\nm {\n  s: 'a' }\nms { } ms { u: 9 }")
    inner = checked.message("m")
    assert inner is not None
    found = inner.field("s")
    assert found is not None
    assert (found.span.line, found.span.column, found.name_span.column) == (3, 6, 3)
    assert [part.span.column for part in checked.messages("ms")] == [4, 11]
    assert [entry.repeated for entry in checked.fields] == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "help"),
    [
        ("i: 1\nmanny: 2", "AM110", (2, 1), "`M` has no field `manny`", "did you mean `many`?"),
        ("left { name: 'a' zzz: 1 }", "AM110", (1, 18), "`left` has no field `zzz`", "it has `name`, `n`"),
        (
            "s: 3",
            "AM111",
            (1, 4),
            "`s` must be a string in quotes, but a whole number was found",
            'write `"3"`',
        ),
        (
            "s: conv1",
            "AM111",
            (1, 4),
            "`s` must be a string in quotes, but the word `conv1` was found",
            'write `"conv1"`',
        ),
        ("i: 'a'", "AM111", (1, 4), "`i` must be a whole number, but a string was found", None),
        (
            "i: 1.5",
            "AM111",
            (1, 4),
            "`i` must be a whole number, but a number with a fraction was found",
            None,
        ),
        ("f: x", "AM111", (1, 4), "`f` must be a number, but the word `x` was found", None),
        ("b: yes", "AM111", (1, 4), "`b` must be `true` or `false`, but the word `yes` was found", "write `true`"),
        ("b: 2", "AM111", (1, 4), "`b` must be `true` or `false`, but a whole number was found", None),
        (
            "i: 2147483648",
            "AM112",
            (1, 4),
            "2147483648 is out of range for `i`",
            "int32 holds -2147483648 to 2147483647",
        ),
        ("u: -1", "AM112", (1, 4), "-1 is out of range for `u`", "uint32 holds 0 to 4294967295"),
        ("f: 1e39", "AM112", (1, 4), "1e+39 is out of range for `f`", "float holds up to about 3.4e38"),
        ("s: '\\377'", "AM111", (1, 4), "`s` is not valid UTF-8", None),
        ("e: HIHG", "AM113", (1, 4), "`HIHG` is not a value of `e`", "did you mean `HIGH`?"),
        ("e: high", "AM113", (1, 4), "`high` is not a value of `e`", "did you mean `HIGH`?"),
        ("e: 7", "AM113", (1, 4), "7 is not a value of `e`", "one of 0 (LOW), 1 (HIGH), 2 (inf)"),
        (
            "e: 'LOW'",
            "AM111",
            (1, 4),
            "`e` must be one word of its enum, but a string was found",
            "write it without quotes",
        ),
        ("i { }", "AM111", (1, 3), "`i` must be a whole number, but a message in braces was found", None),
        (
            "m: 3",
            "AM111",
            (1, 4),
            "`m` is a message, so it needs `{ }`, but a whole number was found",
            "write `m { ... }`",
        ),
        ("left { n: 1 }", "AM114", (1, 6), "`left` needs a field `name`", None),
    ],
)
def test_what_does_not_fit_is_told_where_it_is(
    text: str, code: str, place: tuple[int, int], message: str, help: str | None
) -> None:
    _, (diagnostic,) = check(text)
    assert (diagnostic.code, diagnostic.message, diagnostic.help) == (code, message, help)
    assert diagnostic.level is Level.ERROR
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.column) == place


def test_all_errors_of_a_file_are_told_and_the_rest_is_kept() -> None:
    checked, diagnostics = check("i: x\nu: -1\nms { s: 1 }\nnope: 1\nmany: 4")
    assert [d.code for d in diagnostics] == ["AM111", "AM112", "AM111", "AM110"]
    assert checked.values("many") == (4,)
    assert [entry.name for entry in checked.unknown] == ["nope"]


def test_a_caller_may_give_its_own_codes() -> None:
    collector = Collector()
    check_message(parse_prototext(SourceFile("f", "x: 1")), M, collector, unknown_fields="error", code="AM20")
    assert collector.diagnostics[0].code == "AM200"


def test_two_members_of_a_oneof_are_a_warning_and_the_last_holds() -> None:
    checked, (diagnostic,) = check("left { name: 'a' }\nright { name: 'b' }")
    assert (diagnostic.code, diagnostic.level) == ("AM115", Level.WARNING)
    assert diagnostic.message == "`right` on line 2 overrules `left` on line 1"
    assert diagnostic.related[0].span.line == 1
    assert not checked.has("left")
    assert checked.message("left") is None
    assert list(to_plain(checked)) == ["right"]
    message = to_proto(checked, SCHEMA.message("M"))
    assert message.WhichOneof("choice") == "right"


def test_unknown_fields_are_kept_in_plain_values() -> None:
    text = "i: 1 zoo: 2 new { a: 'x' a: 'y' } mode: FAST on: true zoo: -inf m { more: .5 raw: '\\377' } off: false"
    plain = to_plain(clean(text, unknown_fields="keep"))
    assert plain == {
        "i": 1,
        "zoo": (2, float("-inf")),
        "new": {"a": ("x", "y")},
        "mode": "FAST",
        "on": True,
        "m": {"more": 0.5, "raw": b"\xff"},
        "off": False,
    }
    assert list(plain) == ["i", "zoo", "new", "mode", "on", "m", "off"]
    assert isinstance(plain["mode"], Symbol)


def test_plain_values_are_printed_as_prototext() -> None:
    text = plain_to_text(
        {
            "f": 0.10000000149011612,
            "d": 0.1,
            "e": "LOW",
            "many": (1, 2),
            "m": {"b": True, "s": 'a"b', "raw": b"\xff"},
            "mode": Symbol("FAST"),
            "ratio": 0.10000000149011612,
        },
        M,
    )
    assert text == (
        'f: 0.1\nd: 0.1\ne: LOW\nmany: 1\nmany: 2\nm {\n  b: true\n  s: "a\\"b"\n  raw: "\\377"\n}\n'
        "mode: FAST\nratio: 0.10000000149011612\n"
    )


def test_maps_become_maps() -> None:
    checked = clean("table { key: 'a' value: 1 } table: {key: 'b'} table { key: 'a' value: 3 }")
    message: Any = to_proto(checked, SCHEMA.message("M"))
    assert dict(message.table) == {"a": 3, "b": 0}


NET = "caffe.NetParameter"


def net_files() -> list[Path]:
    paths = [p for p in GOLDEN.glob("caffe/**/*.prototxt") if "lr" not in p.parts and "solver" not in p.name]
    return sorted(p for p in paths if "input_dim" in (text := p.read_text()) or "layer" in text)


@needs_golden
def test_recorded_nets_fit_the_schema_and_equal_what_protobuf_reads() -> None:
    schema = load_schema("caffe.proto")
    net_class = schema.message(NET)
    refused: list[str] = []
    compared = 0
    for path in net_files():
        text = path.read_text(encoding="utf-8")
        checked, diagnostics = check(text, schema.descriptor(NET), "keep")
        if diagnostics or checked.unknown or any(layer.unknown for layer in checked.messages("layer")):
            refused.append(path.stem)
            continue
        try:
            theirs = text_format.Merge(text, net_class())
        except text_format.ParseError:
            refused.append(path.stem)
            continue
        assert to_proto(checked, net_class) == theirs, path
        compared += 1
    assert compared > 450
    assert sorted(refused) == ["Reject__clip_without_max", "Reject__unknown_field"]


@needs_golden
def test_every_recorded_net_survives_plain_values() -> None:
    descriptor = load_schema("caffe.proto").descriptor(NET)
    for path in net_files():
        checked, diagnostics = check(path.read_text(encoding="utf-8"), descriptor, "keep")
        if diagnostics:
            continue
        plain = to_plain(checked)
        assert to_plain(clean(plain_to_text(plain, descriptor), descriptor, "keep")) == plain, path


@needs_golden
def test_recorded_solvers_fit_the_schema() -> None:
    schema = load_schema("caffe.proto")
    solver = schema.message("caffe.SolverParameter")
    paths = sorted(GOLDEN.glob("caffe/legacy/solver*.prototxt"))
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        checked = clean(text, schema.descriptor("caffe.SolverParameter"))
        assert to_proto(checked, solver) == text_format.Merge(text, solver())


@needs_golden
def test_the_nets_caffe_refuses_for_their_text_are_refused_here() -> None:
    manifest = json.loads((GOLDEN / "caffe" / "manifest.json").read_text(encoding="utf-8"))
    cases = {case["case"] for case in manifest["cases"]}
    descriptor = load_schema("caffe.proto").descriptor(NET)
    for name, code in (("Reject__unknown_field", "AM110"), ("Reject__clip_without_max", "AM114")):
        assert name in cases
        text = (GOLDEN / "caffe" / "layers" / f"{name}.prototxt").read_text(encoding="utf-8")
        _, diagnostics = check(text, descriptor)
        assert [d.code for d in diagnostics] == [code]


@needs_assets
def test_real_nets_fit_the_schema_but_for_fields_of_other_caffes() -> None:
    descriptor = load_schema("caffe.proto").descriptor(NET)
    for path in sorted(ASSETS.glob("caffe/**/*.prototxt")):
        checked = clean(path.read_text(encoding="utf-8"), descriptor, "keep")
        assert checked.messages("layer") or checked.messages("layers")


@pytest.mark.skipif(not (SHARED / "seeds").is_dir(), reason="the manuals (../shared/seeds) are not here")
def test_the_policy_of_the_manual_is_read() -> None:
    manual = next((SHARED / "seeds").glob("001*.md")).read_text(encoding="utf-8")
    start = manual.index("# global quantize parameter", manual.index("## 训练后量化简易量化配置文件说明"))
    text = manual[start : manual.index("```", start)]
    plain = to_plain(clean(text, load_schema("amct_caffe_ptq.proto").descriptor("amct_caffe_ptq.AMCTConfig")))
    assert plain["skip_layers"] == ("pool1",)
    common = plain["common_config"]
    assert isinstance(common, dict)
    snq = common["snq_quantize"]
    assert isinstance(snq, dict)
    assert (snq["min_distance"], snq["init_algo"]) == (1e-10, "gaussian")


def test_a_record_is_read_in_the_new_and_in_the_old_form() -> None:
    descriptor = load_schema("amct_record.proto").descriptor("amct_record.ScaleOffsetRecord")
    activation = "record_d { scale_d: 0.1 offset_d: -3 index: 0 }"
    new = f"record {{ key: 'a' value {{ scale_w: [.5, 1] offset_w: 0 {activation} }} }}"
    old = "record { key: 'a' value: { scale_d: 0.1 offset_d: -3 channels: 3 height: 7 width: 8 scale_w: .5 } }"
    for text in (new, old):
        (entry,) = clean(text, descriptor).messages("record")
        assert entry.value("key") == "a"
    _, (diagnostic,) = check("record { value { record_d { scale_d: 1 } } }", descriptor)
    assert diagnostic.message == "`record_d` needs a field `index`"


def test_a_tree_without_a_schema_has_plain_values_too() -> None:
    tree = parse_prototext(SourceFile("f", "a: 1 a: 2 b { c: D }"))
    assert text_to_plain(tree) == {"a": (1, 2), "b": {"c": Symbol("D")}}


def test_the_published_sample_of_quantization_parameters_is_read() -> None:
    schema = load_schema("quant_param.proto")
    text = (
        'version: 65536 layer { name:"conv1" calc_data_type: S8 quant_param { '
        "input { data_type: S8 scale: 12.75 offset: -77 } weight { data_type: S8 scale: 127 } } }"
    )
    checked = clean(text, schema.descriptor("calibration.CalibrationParam"))
    message = schema.message("calibration.CalibrationParam")
    assert to_proto(checked, message) == text_format.Merge(text, message())
