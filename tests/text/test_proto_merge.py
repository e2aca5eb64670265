"""Merging users' `.proto` files: the four scenarios of the manual's FAQ, and the rules behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level
from amctc.dialects.caffe.compile_schema import SCHEMAS, compiled_schemas
from amctc.dialects.caffe.merged_schema import MAX_PROTO_BYTES, merge_caffe_proto, schema_with
from amctc.dialects.caffe.schema import COMPILED, LAYER, caffe_schema
from amctc.source import SourceFile
from amctc.text import compiled_schema
from amctc.text.proto_compiler import parse_schema
from amctc.text.proto_schema import Schema, own_proto
from tests.fuzz.mutations import damaged_texts

MESSAGES = """
message ReLU6Parameter {
  optional float negative_slope = 1 [default = 0];
}

message ROIPoolingParameter {
  // Pad, kernel size, and stride are all given as a single value for equal
  // dimensions in height and width or as Y, X pairs.
  optional uint32 pooled_h = 1 [default = 0]; // The pooled output height
  optional uint32 pooled_w = 2 [default = 0]; // The pooled output width
  optional float spatial_scale = 3 [default = 1];
}
"""
QUANT = """
message QuantParameter {
    optional bool with_offset = 1;
    optional float scale = 2;
    optional int32 offset = 3;
    optional string object_layer = 4;
    optional uint32 index = 5 [default = 0];
optional int32 num_bits_d = 6;
 }
"""
NORMALIZE = """
message NormalizeParameter {
    optional bool across_spatial = 1 [default = true];
    // Initial value of scale. Default is 1.0 for all
    optional FillerParameter scale_filler = 2;
    optional bool channel_shared = 3 [default = true];
    optional float eps = 4 [default = 1e-10];
}
"""


def layer_fields(*fields: str) -> str:
    lines = "".join(f"   optional {field};\n" for field in fields)
    return f"message LayerParameter {{\n{lines} }}\n"


RELU6 = "ReLU6Parameter relu6_param = 1000000"
ROI = "ROIPoolingParameter roi_pooling_param = 8266711"
MINIMAL_BASE = """
// A Caffe of ours.
package caffe;  // kept

// Shapes.
message BlobShape { repeated int64 dim = 1 [packed = true]; }
message FillerParameter { optional string type = 1; }
message LayerParameter {
  optional string name = 1;  // comment
  optional NormalizeParameter norm_param = 206;  // what norm_param is
  optional OldParameter old_param = 207;
}
// Replaced together with this comment.
message NormalizeParameter {
  enum Way { A = 0; }
  optional Way way = 1;
}

message OldParameter { optional int32 x = 1; }
message V1LayerParameter { optional string name = 4; }
"""


def write(folder: Path, text: str, name: str = "custom.proto") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def merged(folder: Path, *texts: str) -> tuple[Schema, list[Diagnostic]]:
    """The schema with users' texts, and the warnings."""
    collector = Collector()
    paths = [write(folder, text, f"custom{number or ''}.proto") for number, text in enumerate(texts)]
    return schema_with(paths, collector), collector.diagnostics


def errors(folder: Path, *texts: str) -> list[Diagnostic]:
    with pytest.raises(DiagnosticError) as caught:
        merged(folder, *texts)
    return [diagnostic for diagnostic in caught.value.diagnostics if diagnostic.level is Level.ERROR]


def atc_scan(text: str) -> Iterator[tuple[str, str, int]]:
    """What a line-based reader of `.proto` files, such as ATC's, finds in the first block of LayerParameter."""
    lines = iter(text.splitlines())
    for line in lines:
        if "message" in line and "LayerParameter" in line:
            break
    for line in lines:
        if "}" in line:
            return
        if any(word in line for word in ("optional", "repeated", "required")):
            words = [word for word in line.split(" ") if word]
            number = "".join(re.findall(r"\d", line[line.index("=") : line.index(";")]))
            yield words[1], words[2].split("=")[0], int(number)


# -- the scenarios of the FAQ -------------------------------------------------------------------------


def test_scenario_1_a_message_of_amct_is_an_error(tmp_path: Path) -> None:
    text = layer_fields("QuantParameter quant_param = 208", RELU6, ROI) + MESSAGES + QUANT
    found = errors(tmp_path, text)
    assert [(d.code, d.span.text if d.span else "") for d in found] == [
        ("AM141", "quant_param"),
        ("AM142", "QuantParameter"),
    ]
    assert "AMCT's amct_custom.proto" in found[1].message
    assert found[1].help == "give the message another name"
    assert found[1].related[0].span.source.name == "amct_custom.proto"


def test_scenario_2_a_layer_field_of_amct_is_an_error(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, layer_fields("QuantParameter quant_param = 208", RELU6, ROI) + MESSAGES)
    assert found.code == "AM141"
    assert found.location == f"{tmp_path}/custom.proto:2:28"
    assert found.message == (
        "`quant_param` is a field of AMCT's amct_custom.proto, number 200000, and cannot be declared anew"
    )


def test_a_number_of_amct_is_an_error(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, layer_fields("ReLU6Parameter relu6_param = 200001", ROI) + MESSAGES)
    assert found.code == "AM140"
    assert "`dequant_param` in AMCT's amct_custom.proto" in found.message


def test_scenario_3_a_number_of_atc_is_an_error_that_names_both_sides(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, layer_fields("ReLU6Parameter relu6_param = 206", ROI) + MESSAGES)
    assert found.code == "AM140"
    assert found.location == f"{tmp_path}/custom.proto:2:42"
    assert found.message == "the number 206 of `relu6_param` is that of `norm_param` in ATC's caffe.proto"
    assert found.help == "give `relu6_param` a free number below 5000, such as 1000"
    assert found.related[0].span.source.name == "atc.proto"


def test_scenario_4_a_message_of_atc_is_replaced_with_a_warning(tmp_path: Path) -> None:
    text = layer_fields(RELU6, ROI, "NormalizeParameter norm_param = 206") + MESSAGES + NORMALIZE
    schema, warnings = merged(tmp_path, text)
    assert {(d.code, d.span.text if d.span else "") for d in warnings} == {
        ("AM143", "ROIPoolingParameter"),
        ("AM143", "NormalizeParameter"),
    }
    assert all("ATC's caffe.proto" in d.message for d in warnings)
    fields = schema.descriptor(LAYER).fields_by_name
    numbers = {name: fields[name].number for name in ("relu6_param", "roi_pooling_param", "norm_param")}
    assert numbers == {"relu6_param": 1000000, "roi_pooling_param": 8266711, "norm_param": 206}
    assert schema.descriptor("caffe.ROIPoolingParameter").fields_by_name["spatial_scale"].default_value == 1
    assert 161 not in schema.descriptor(LAYER).fields_by_number


def test_a_message_of_ours_is_replaced_without_a_word(tmp_path: Path) -> None:
    text = layer_fields(RELU6) + "message ReLU6Parameter { optional int32 own = 9; }"
    schema, warnings = merged(tmp_path, text)
    assert warnings == []
    assert [field.name for field in schema.descriptor("caffe.ReLU6Parameter").fields] == ["own"]
    assert schema.descriptor(LAYER).fields_by_name["relu6_param"].number == 1000000


def test_every_mistake_of_every_file_is_told_at_once_and_no_number_is_suggested_twice(tmp_path: Path) -> None:
    one = layer_fields("FooParameter foo_param = 206", "FooParameter bar_param = 1000") + "message FooParameter {}"
    two = layer_fields("FooParameter baz_param = 106") + QUANT
    found = errors(tmp_path, one, two)
    assert [d.code for d in found] == ["AM140", "AM140", "AM142"]
    assert [re.findall(r"such as (\d+)", d.help or "") for d in found[:2]] == [["1001"], ["1002"]]


# -- the rules ----------------------------------------------------------------------------------------


def test_a_number_that_the_same_file_gives_free_may_be_taken(tmp_path: Path) -> None:
    text = layer_fields("NormalizeParameter norm_param = 300", RELU6.replace("1000000", "206")) + MESSAGES
    schema, _ = merged(tmp_path, text)
    fields = schema.descriptor(LAYER).fields_by_name
    assert (fields["norm_param"].number, fields["relu6_param"].number) == (300, 206)


def test_a_number_of_our_own_layers_may_be_taken(tmp_path: Path) -> None:
    number = caffe_schema().descriptor(LAYER).fields_by_name["pad_param"].number
    schema, warnings = merged(tmp_path, layer_fields(f"FooParameter foo_param = {number}") + "message FooParameter {}")
    assert warnings == []
    assert schema.descriptor(LAYER).fields_by_number[number].name == "foo_param"


def test_two_fields_of_one_number_in_one_file_are_an_error(tmp_path: Path) -> None:
    text = layer_fields("FooParameter foo_param = 700", "FooParameter bar_param = 700") + "message FooParameter {}"
    (found,) = errors(tmp_path, text)
    assert found.code == "AM140"
    assert "`foo_param` in `" in found.message


def test_two_blocks_of_layer_parameter_are_read_as_one(tmp_path: Path) -> None:
    text = (
        layer_fields("FooParameter foo_param = 700")
        + "message FooParameter {}"
        + layer_fields("FooParameter bar_param = 701")
    )
    schema, _ = merged(tmp_path, text)
    assert {700, 701} <= set(schema.descriptor(LAYER).fields_by_number)


def test_a_second_file_may_use_what_the_first_declares_but_not_its_numbers(tmp_path: Path) -> None:
    first = layer_fields("FooParameter foo_param = 700") + "message FooParameter { optional int32 a = 1; }"
    second = layer_fields("FooParameter bar_param = 701")
    schema, warnings = merged(tmp_path, first, second)
    assert warnings == []
    kind = schema.descriptor(LAYER).fields_by_name["bar_param"].message_type
    assert kind is schema.descriptor("caffe.FooParameter")
    (found,) = errors(tmp_path, first, layer_fields("FooParameter bar_param = 700"))
    assert f"`foo_param` in `{tmp_path}/custom.proto`" in found.message


def test_one_message_in_two_files_is_told_only_where_they_differ(tmp_path: Path) -> None:
    one = "message FooParameter { optional int32 a = 1; }"
    assert merged(tmp_path, one, one.replace(" { ", " {  // the same\n "))[1] == []
    schema, warnings = merged(tmp_path, one, one.replace("int32", "float"))
    assert [d.code for d in warnings] == ["AM143"]
    assert schema.descriptor("caffe.FooParameter").fields_by_name["a"].type == 2


def test_what_every_layer_has_cannot_be_changed_but_may_be_said_again(tmp_path: Path) -> None:
    same = "message LayerParameter { optional string name = 1; repeated string bottom = 3; }"
    assert merged(tmp_path, same)[1] == []
    (found,) = errors(tmp_path, layer_fields("string type = 900"))
    assert (found.code, "Caffe's caffe.proto" in found.message) == ("AM141", True)


def test_what_nets_are_made_of_stays_ours(tmp_path: Path) -> None:
    schema, warnings = merged(tmp_path, "message BlobProto { optional int32 x = 1; }")
    assert [d.code for d in warnings] == ["AM143"]
    assert "nets are read with it" in warnings[0].message
    assert "shape" in schema.descriptor("caffe.BlobProto").fields_by_name


def test_nested_messages_and_enums_come_along(tmp_path: Path) -> None:
    text = layer_fields("FooParameter foo_param = 700") + (
        "enum Colour { RED = 0; BLUE = 1; }\n"
        "message FooParameter {\n  enum Kind { A = 0; B = 1; }\n"
        "  message Part { optional Kind kind = 1 [default = B]; }\n"
        "  repeated Part part = 1;\n  optional Colour colour = 2 [default = BLUE];\n}\n"
    )
    schema, _ = merged(tmp_path, text)
    foo = schema.descriptor("caffe.FooParameter")
    assert foo.nested_types_by_name["Part"].fields_by_name["kind"].default_value == 1
    assert foo.fields_by_name["colour"].enum_type is schema.pool.FindEnumTypeByName("caffe.Colour")


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        ('syntax = "proto3"; message A { int32 a = 1; }', "AM144", None, "is proto3"),
        ("message LayerParameter { repeated A a_param = 700; } message A {}", "AM144", "1:37", "must be `optional`"),
        ("message LayerParameter { oneof x { A a = 700; } } message A {}", "AM144", "1:32", "`oneof`"),
        ("message LayerParameter { enum E { A = 0; } }", "AM144", "1:31", "inside `LayerParameter`"),
        ("message A {} message A {}", "AM122", "1:22", "twice"),
        ("message LayerParameter { optional A a = 7; optional A a = 8; } message A {}", "AM122", "1:55", "twice"),
        ("message LayerParameter {\n optional A a_param = 700;\n}", "AM121", "2:11", "unknown type `A`"),
        ("message LayerParameter { optional int32 x = 0; }", "AM124", "1:45", "not a field number"),
        ("message LayerParameter { optional int32 x = 19500; }", "AM124", "1:45", "not a field number"),
        ("message LayerParameter { optional int32 x = 1.5; }", "AM124", "1:45", "not a whole number"),
        ("message A { optional FillerParametr f = 1; }", "AM121", "1:22", "FillerParametr"),
        ("message A { optional int32 a = 1 }", "AM101", "1:34", "expected"),
        ("enum Mine { TRAIN = 7; }", "AM122", "1:13", "declared twice"),
    ],
)
def test_a_mistake_in_a_users_file_is_told_at_its_place(
    tmp_path: Path, text: str, code: str, place: str | None, words: str
) -> None:
    found = errors(tmp_path, text)[0]
    assert (found.code, words in found.message) == (code, True), found
    assert found.location == f"{tmp_path}/custom.proto" + (f":{place}" if place else "")


def test_a_message_that_lacks_what_ours_declares_inside_is_named(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, "message PriorBoxParameter { repeated float min_size = 1; }")
    assert (found.code, found.location) == ("AM145", f"{tmp_path}/custom.proto:1:9")
    assert "`PriorBoxParameter` lacks `CodeType`" in found.message
    assert found.related[0].span.source.name == "atc.proto"


def test_a_file_that_is_missing_or_too_large_is_told_with_the_others(tmp_path: Path) -> None:
    large = write(tmp_path, " " * (MAX_PROTO_BYTES + 1), "large.proto")
    with pytest.raises(DiagnosticError) as caught:
        schema_with([tmp_path / "none.proto", large, write(tmp_path, "message")], Collector())
    assert [d.code for d in caught.value.diagnostics] == ["AM100", "AM102", "AM101"]


# -- a whole caffe.proto ------------------------------------------------------------------------------


def test_a_whole_caffe_proto_counts_more_than_atcs_but_not_than_amcts(tmp_path: Path) -> None:
    """As in the proto of SSD: 204 is ATC's for another layer; and as in ATC's own: a QuantParameter, number 208."""
    text = (
        "package caffe;\nmessage NetParameter { optional int32 strange = 1; }\n"
        "message LayerParameter {\n  optional string name = 1;\n  repeated string bottom = 3;\n"
        "  optional DetectionOutputParameter detection_output_param = 204;\n"
        "  optional QuantParameter quant_param = 208;\n}\n"
        "message DetectionOutputParameter { optional uint32 classes = 1; }\n"
        "message QuantParameter { optional float scale = 2; optional bytes offset = 3; }\n"
    )
    schema, warnings = merged(tmp_path, text)
    assert warnings == []
    fields = schema.descriptor(LAYER).fields_by_name
    assert (fields["detection_output_param"].number, fields["quant_param"].number) == (204, 200000)
    assert "yolov2_detection_output_param" not in fields
    assert "layer" in schema.descriptor("caffe.NetParameter").fields_by_name
    assert [f.name for f in schema.descriptor("caffe.DetectionOutputParameter").fields] == ["classes"]


def test_a_whole_caffe_proto_may_not_have_a_number_of_amct_for_another_field(tmp_path: Path) -> None:
    text = "message NetParameter {} message LayerParameter { optional int32 mine = 200000; }"
    (found,) = errors(tmp_path, text)
    assert (found.code, found.location) == ("AM140", f"{tmp_path}/custom.proto:1:72")
    assert "`quant_param` in AMCT's amct_custom.proto" in found.message


# -- the written text ---------------------------------------------------------------------------------


def test_the_merged_text_is_read_again_and_survives_a_line_based_scan(tmp_path: Path) -> None:
    custom = write(tmp_path, layer_fields(RELU6, ROI, "NormalizeParameter norm_param = 206") + MESSAGES + NORMALIZE)
    text = merge_caffe_proto([custom], None, Collector())
    wanted = schema_with([custom], Collector()).descriptor(LAYER)
    scanned = {name: number for _, name, number in atc_scan(text)}
    assert scanned == {field.name: field.number for field in wanted.fields}
    assert text.index("message LayerParameter") < text.index("message V1LayerParameter")
    assert text.count("message NormalizeParameter {") == 1
    assert "\npackage caffe;\n" in text
    assert "// Initial value of scale." in text
    again, warnings = merged(tmp_path, text)
    assert warnings == []
    assert {field.name: field.number for field in again.descriptor(LAYER).fields} == scanned


def test_a_base_of_the_users_keeps_its_comments_and_gets_amcts_layers(tmp_path: Path) -> None:
    base = write(tmp_path, MINIMAL_BASE, "base.proto")
    custom = write(tmp_path, layer_fields("NormalizeParameter norm_param = 206", RELU6) + MESSAGES + NORMALIZE)
    text = merge_caffe_proto([custom], base, Collector())
    assert text.startswith("\n// A Caffe of ours.\npackage caffe;  // kept\n\n// Shapes.\n")
    assert "// Replaced together with this comment." not in text
    assert "what norm_param is" not in text
    fields = {name: number for _, name, number in atc_scan(text)}
    assert fields["old_param"] == 207
    assert fields["norm_param"] == 206
    assert fields["quant_param"] == 200000
    assert fields["relu6_param"] == 1000000
    assert "convolution_param" not in fields
    assert text.count("message QuantParameter {") == 1


def test_a_clash_with_a_base_of_the_users_names_its_file(tmp_path: Path) -> None:
    base = write(tmp_path, MINIMAL_BASE, "base.proto")
    custom = write(tmp_path, layer_fields("ReLU6Parameter relu6_param = 207") + MESSAGES)
    with pytest.raises(DiagnosticError) as caught:
        merge_caffe_proto([custom], base, Collector())
    (found,) = (d for d in caught.value.diagnostics if d.level is Level.ERROR)
    assert found.message == f"the number 207 of `relu6_param` is that of `old_param` in `{base}`"


def test_a_base_without_layers_is_refused(tmp_path: Path) -> None:
    base = write(tmp_path, "message A {}", "base.proto")
    with pytest.raises(DiagnosticError, match="declares no message `LayerParameter`"):
        merge_caffe_proto([write(tmp_path, MESSAGES)], base, Collector())


def test_a_block_on_one_line_is_opened_up(tmp_path: Path) -> None:
    base = write(tmp_path, "message LayerParameter { optional string name = 1; }", "base.proto")
    text = merge_caffe_proto([write(tmp_path, layer_fields(RELU6) + MESSAGES)], base, Collector())
    assert "{ optional string name = 1; \n  optional" in text
    assert "  optional ReLU6Parameter relu6_param = 1000000;\n}" in text


def test_a_field_is_written_on_one_line_whatever_the_user_wrote(tmp_path: Path) -> None:
    custom = "message LayerParameter { optional /* a } */ .caffe.FooParameter // b\n foo = 700 [deprecated = true]; }"
    path = write(tmp_path, custom + "message FooParameter {}")
    assert "\n  optional .caffe.FooParameter foo = 700 [deprecated = true];\n" in merge_caffe_proto(
        [path], None, Collector()
    )


_SAMPLES = (
    layer_fields("QuantParameter quant_param = 208", RELU6, ROI) + MESSAGES + QUANT,
    layer_fields(RELU6, ROI, "NormalizeParameter norm_param = 206") + MESSAGES + NORMALIZE,
    "package caffe;\nmessage NetParameter {}\n" + layer_fields("repeated string bottom = 3", RELU6) + MESSAGES,
)
_WORDS = ("message", "optional", "enum", "oneof", "LayerParameter", "NetParameter", "FillerParameter", "206", "200000")


@given(damaged_texts(_SAMPLES, _WORDS), st.booleans())
def test_a_damaged_file_ends_in_a_diagnostic_or_in_a_text_that_is_read_again(text: str, whole: bool) -> None:
    with TemporaryDirectory() as folder:
        custom = write(Path(folder), text)
        base = write(Path(folder), MINIMAL_BASE, "base.proto") if whole else None
        collector = Collector()
        try:
            found = merge_caffe_proto([custom], base, collector)
        except DiagnosticError as mistakes:
            assert all(d.span is None or 0 <= d.span.start <= len(d.span.source.text) for d in mistakes.diagnostics)
            return
        assert not collector.has_errors
        assert parse_schema(SourceFile("again.proto", found)).pool


# -- our own four files -------------------------------------------------------------------------------


def test_our_own_files_do_not_clash(tmp_path: Path) -> None:
    text = merge_caffe_proto([], None, Collector())
    names = re.findall(r"^message (\w+) ", text, re.MULTILINE)
    assert len(names) == len(set(names))
    declared = {name for file in ("caffe", "atc", "amct_custom", "layers") for name in re.findall(
        r"^message (\w+) ", own_proto(f"{file}.proto").text, re.MULTILINE)}  # fmt: skip
    assert declared == set(names)


def test_the_compiled_schemas_are_current() -> None:
    folder = files("amctc.grammar").joinpath("proto")
    wanted = compiled_schemas()
    assert {place.name for place in folder.iterdir() if place.name.endswith(".binpb")} == set(wanted)
    for name, content in wanted.items():
        compiled = FileDescriptorProto.FromString(folder.joinpath(name).read_bytes())
        assert compiled == FileDescriptorProto.FromString(content), f"{name}: run `make protos`"


def test_every_schema_is_compiled_alone_or_merged() -> None:
    texts = {place.name for place in files("amctc.grammar").joinpath("proto").iterdir()}
    merged = {"caffe.proto", "atc.proto", "layers.proto", "amct_custom.proto"}
    assert {name for name in texts if name.endswith(".proto")} == {*SCHEMAS, *merged}


def test_a_compiled_schema_that_is_not_current_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = FileDescriptorProto(name="caffe.proto", package="caffe")
    (tmp_path / "proto").mkdir()
    (tmp_path / "proto" / COMPILED).write_bytes(stale.SerializeToString())
    monkeypatch.setattr(compiled_schema, "files", lambda package: tmp_path)
    caffe_schema.cache_clear()
    try:
        assert "layer" in caffe_schema().descriptor("caffe.NetParameter").fields_by_name
        (tmp_path / "proto" / COMPILED).write_bytes(b"\xff\xff")
        caffe_schema.cache_clear()
        assert "layer" in caffe_schema().descriptor("caffe.NetParameter").fields_by_name
    finally:
        caffe_schema.cache_clear()
