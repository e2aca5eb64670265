from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.schema import caffe_schema
from amctc.source import SourceFile
from amctc.text.proto_compiler import parse_schema
from amctc.text.proto_schema import Schema, load_schema

OWN = ("caffe.proto", "caffe_weights.proto", "amct_caffe_ptq.proto", "amct_record.proto", "quant_param.proto")


def schema(text: str) -> Schema:
    return parse_schema(SourceFile("f.proto", text))


def test_every_kind_of_declaration_becomes_a_live_class() -> None:
    made = schema(
        """
        syntax = "proto2";  // a comment
        package a.b;        /* another ** one */
        option java_package = "x.y";
        message M {
          enum E { A = 0; B = -1; C = 0x10; }
          message Inner { optional M back = 1; }
          required int32 id = 1;
          optional float f = 2 [default = 1e-5, deprecated = true];
          repeated uint32 many = 3 [packed = true];
          optional E e = 4 [default = C];
          optional Inner inner = 5;
          optional .a.b.Other other = 6;
          optional string s = 7 [default = "x" 'y'];
          optional bytes raw = 8 [default = "\\001z"];
          optional int64 low = 9 [default = -9223372036854775808];
          optional double big = 10 [default = -inf];
          optional string message = 11;
          optional bool optional = 12 [default = true];
          oneof choice { int32 left = 20; string right = 21; }
          map<string, E> table = 22;
          reserved 30, 32 to 40, 100 to max;
          reserved "gone";
          extensions 50 to 60;
        }
        message Other { repeated M.Inner inners = 1; optional b.M m = 2; }
        """
    )
    message = made.message("a.b.M")(id=3)
    assert message.SerializeToString() == b"\x08\x03"
    fields = made.descriptor("a.b.M").fields_by_name
    assert fields["s"].default_value == "xy"
    assert fields["raw"].default_value == b"\x01z"
    assert fields["low"].default_value == -(2**63)
    assert fields["big"].default_value == float("-inf")
    assert fields["e"].default_value == 16
    assert fields["optional"].default_value is True
    oneof = fields["left"].containing_oneof
    assert oneof is not None
    assert oneof.name == "choice"
    assert fields["other"].message_type is made.descriptor("a.b.Other")
    assert made.message("a.b.M") is made.message("a.b.M")
    with pytest.raises(KeyError):
        made.descriptor("a.b.None")


def test_proto3_fields_need_no_label() -> None:
    made = schema('syntax = "proto3"; message M { int32 a = 1; optional int32 b = 2; repeated float c = 3; }')
    fields = made.descriptor("M").fields_by_name
    assert not fields["a"].has_presence
    assert fields["b"].has_presence
    assert fields["c"].is_packed


@pytest.mark.parametrize(
    ("text", "place", "message", "help"),
    [
        (
            "message M { optional int32 a = 1;\n optional int32 b = 1; }",
            (2, 21),
            "field number 1 is used twice in `M`",
            None,
        ),
        (
            "message M { optional int32 a = 1;\n optional int32 a = 2; }",
            (2, 17),
            "`M.a` is declared twice",
            None,
        ),
        ("message M { }\nenum M { A = 0; }", (1, 9), "`M` is declared twice", None),
        ("enum E { A = 0; }\nenum F { A = 1; }", (2, 10), "`A` is declared twice", None),
        ("message M { optional flaot a = 1; }", (1, 22), "unknown type `flaot`", "did you mean `float`?"),
        (
            "message Layer { }\nmessage M { optional Leyer a = 1; }",
            (2, 22),
            "unknown type `Leyer`",
            "did you mean `Layer`?",
        ),
        (
            "message M { optional int32 a = 0; }",
            (1, 32),
            "0 is not a field number",
            "field numbers are 1 to 536870911, without 19000 to 19999",
        ),
        (
            "message M { optional int32 a = 19500; }",
            (1, 32),
            "19500 is not a field number",
            "field numbers are 1 to 536870911, without 19000 to 19999",
        ),
        ("message M { optional int32 a = 1.5; }", (1, 32), "`1.5` is not a whole number", None),
        (
            "message M { int32 a = 1; }",
            (1, 13),
            "`a` has no label",
            "write `optional`, `required` or `repeated` before the type",
        ),
        (
            "message M { oneof o { optional int32 a = 1; } }",
            (1, 38),
            "`a` is in a `oneof`, so it has no `optional`",
            None,
        ),
        (
            "message M { reserved 4 to 6; optional int32 a = 5; }",
            (1, 49),
            "field number 5 is reserved in `M`",
            None,
        ),
        (
            'message M { reserved "a"; optional int32 a = 5; }',
            (1, 42),
            "the name `a` is reserved in `M`",
            None,
        ),
        ("message M { reserved 6 to 4; }", (1, 22), "6 to 4 is not a range of field numbers", None),
        (
            "message M { optional int32 a = 1 [default = 3000000000]; }",
            (1, 45),
            "`3000000000` is not a value of type int32",
            None,
        ),
        (
            "message M { optional uint32 a = 1 [default = -1]; }",
            (1, 46),
            "`-` is not a value of type uint32",
            None,
        ),
        (
            "message M { optional bool a = 1 [default = 1]; }",
            (1, 44),
            "`1` is not a value of type bool",
            None,
        ),
        (
            "message M { repeated bool a = 1 [default = true]; }",
            (1, 44),
            "`a` cannot have a default: only single scalars can",
            None,
        ),
        (
            "enum E { ONE = 1; } message M { optional E a = 1 [default = OEN]; }",
            (1, 61),
            "`OEN` is not a value of enum `E`",
            "did you mean `ONE`?",
        ),
        ("enum E { A = 1; B = 1; }", (1, 21), "the number 1 is used twice in `E`", None),
        ("enum E { }", (1, 6), "the enum `E` has no value", None),
        ('syntax = "proto3"; enum E { A = 1; }', (1, 29), "the first value of `E` must be 0 in proto3", None),
        (
            'syntax = "proto3"; message M { required int32 a = 1; }',
            (1, 47),
            "`a` cannot be `required` in proto3",
            None,
        ),
        ('syntax = "proto9";', (1, 10), "the syntax `proto9` is not known", "write `proto2` or `proto3`"),
        (
            'import "other.proto";',
            (1, 8),
            "the import of `other.proto` is not followed",
            "give that file too, or copy what is needed from it into this one",
        ),
        ("message M { map<float, int32> a = 1; }", (1, 17), "`float` cannot be the key of a map", None),
        ("message M { optional int32 a = 1 }", (1, 34), "expected `[` or `;`, found `}`", None),
        ("message M { optional int32 = 1; }", (1, 28), "expected a name, found `=`", None),
        (
            "message M {\n optional int32 a = 1;",
            (2, 23),
            "`}` is missing at the end of the file",
            "close what line 1 opens",
        ),
        ("/* never closed", (1, 1), "a comment is not closed", "end it with `*/`"),
        ("# not this", (1, 1), "unexpected character `#`", "comments begin with `//`"),
    ],
)
def test_a_mistake_is_told_where_it_is(text: str, place: tuple[int, int], message: str, help: str | None) -> None:
    with pytest.raises(DiagnosticError) as caught:
        schema(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == message
    assert diagnostic.help == help
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.column) == place


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(DiagnosticError) as caught:
        schema("message M { optional X a = 0; optional Y a = 1 [default = 2]; }")
    assert len(caught.value.diagnostics) >= 4


def test_hostile_nesting_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="AM103"):
        schema("message M {" * 10_000)


def test_several_texts_see_the_names_of_those_before_them() -> None:
    base = SourceFile("dir/base.proto", "package p; message Base { optional int32 a = 1; }")
    user = SourceFile("custom.proto", 'package p; import "base.proto"; message User { optional Base base = 1; }')
    made = parse_schema(base, user)
    assert made.descriptor("p.User").fields_by_name["base"].message_type is made.descriptor("p.Base")
    assert made.name == "base.proto+custom.proto"


def test_a_name_declared_by_two_texts_points_at_both() -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse_schema(SourceFile("a.proto", "message M { }"), SourceFile("b.proto", "\nmessage M { }"))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.location == "b.proto:2:9"
    assert str(diagnostic.related[0].span) == "a.proto:1:9"


@pytest.mark.parametrize("name", OWN)
def test_our_own_schemas_are_sound_and_stay_out_of_the_default_pool(name: str) -> None:
    made = load_schema(name)
    assert made is load_schema(name)
    for message in made.files[0].message_type:
        full_name = f"{made.files[0].package}.{message.name}"
        assert made.message(full_name)().IsInitialized() in (True, False)
        with pytest.raises(KeyError):
            descriptor_pool.Default().FindMessageTypeByName(full_name)


def test_an_unknown_schema_of_ours_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        load_schema("none.proto")
    with pytest.raises(KeyError):
        load_schema("../caffe.proto")


def test_protoc_and_we_read_a_foreign_schema_alike() -> None:
    text = Path(onnx.__file__).with_name("onnx-ml.proto").read_text(encoding="utf-8")
    ours = parse_schema(SourceFile("onnx/onnx-ml.proto", text)).files[0]
    theirs = FileDescriptorProto()
    onnx.ModelProto.DESCRIPTOR.file.CopyToProto(theirs)
    for file in (ours, theirs):
        file.ClearField("name")
        file.ClearField("options")
        file.ClearField("syntax")
        file.ClearField("source_code_info")
        for message in file.message_type:
            message.ClearField("reserved_name")
            for field in message.field:
                field.ClearField("json_name")
    assert ours.message_type == theirs.message_type
    assert ours.enum_type == theirs.enum_type


def test_caffe_defaults_are_those_of_the_facts() -> None:
    made = caffe_schema()
    normalization = made.descriptor("caffe.BatchNormParameter").fields_by_name
    assert normalization["moving_average_fraction"].default_value == pytest.approx(0.999)
    assert normalization["eps"].default_value == pytest.approx(1e-5)
    assert not normalization["use_global_stats"].has_default_value
    layer = made.descriptor("caffe.LayerParameter").fields_by_name
    numbers = {layer[name].number for name in ("quant_param", "dequant_param", "ifmr_param")}
    assert numbers == {200000, 200001, 200002}
    quant = made.descriptor("caffe.QuantParameter").fields_by_name
    assert [quant[name].number for name in ("with_offset", "scale", "offset", "object_layer", "index")] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert made.descriptor("caffe.V1LayerParameter").enum_types_by_name["LayerType"].values_by_name["RELU"].number == 18


def test_a_written_net_is_read_again() -> None:
    net_class = caffe_schema().message("caffe.NetParameter")
    net: Any = net_class()  # its attributes are made at run time
    layer: Any = net.layer.add(name="conv1", type="Convolution")
    layer.blobs.add(data=[1.5, -2.0], int8_data=b"\x01\xff", int32_data=[-1]).shape.dim.extend([1, 2])
    layer.quant_param.scale = 0.5
    again = net_class.FromString(net.SerializeToString())
    assert again == net


def test_the_wire_view_gives_the_bytes_of_packed_floats() -> None:
    full = load_schema("caffe.proto").message("caffe.BlobProto")(data=[1.0, 2.0], double_data=[3.0], num=4)
    wire: Any = load_schema("caffe_weights.proto").message("caffe_weights.Blob").FromString(full.SerializeToString())
    assert list(wire.data) == [b"\x00\x00\x80\x3f\x00\x00\x00\x40"]
    assert wire.num == 4
    assert type(full).FromString(wire.SerializeToString()) == full
