"""AIPP files that cannot be computed, or that GE would refuse: the message, at its place."""

from __future__ import annotations

import pytest

from amctc.aipp.checks import INPUT_FORMATS, RANGES
from amctc.text.proto_schema import load_schema
from tests.aipp.files import RGB, YUV, config_of, mistakes_of, only_mistake

FIELDS = load_schema("aipp.proto").descriptor("domi.AippOpParams").fields


def test_two_operators_at_one_input_are_refused() -> None:
    (found,) = mistakes_of(f"aipp_op {{ {RGB} }}\naipp_op {{ {RGB} related_input_rank: 0 }}")
    assert (found.code, found.message) == ("AM397", "two operators stand at the input number 0")
    assert found.location == "aipp.cfg:2:73"
    named = f'aipp_op {{ {RGB} related_input_name: "data" }} '
    (found,) = mistakes_of(named * 2)
    assert found.message == "two operators stand at the input `data`"
    for text in (named + f"aipp_op {{ {RGB} }}", f"aipp_op {{ {RGB} }}" + named):
        (found,) = mistakes_of(text)
        assert found.message == "some operators name their input, others count it"


@pytest.mark.parametrize("name", [field.name for field in FIELDS if field.name not in ("aipp_mode", "input_edge_idx")])
def test_a_field_that_is_written_twice_is_refused_at_the_second(name: str) -> None:
    value = {"input_format": "RGB888_U8", "related_input_name": '"data"'}.get(name, "0")
    first = "" if name == "input_format" else f"{name}: {value}"
    (found,) = mistakes_of(f"aipp_op {{\n{RGB}\n{first}\n{name}: {value} }}")
    assert (found.code, found.message) == ("AM390", f"`{name}` is written twice, but takes one value")
    assert found.span is not None and found.span.line == 4


def test_a_list_of_two_values_is_one_too_many() -> None:
    message = only_mistake(f"{RGB} var_reci_chn_0: [1, 2]", "AM390", "2")
    assert message == "`var_reci_chn_0` is written twice, but takes one value"


def test_the_formats_that_the_manual_does_not_describe_are_refused() -> None:
    for value in load_schema("aipp.proto").descriptor("domi.AippOpParams").enum_types_by_name["InputFormat"].values:
        body = f"aipp_mode: static input_format: {value.name}"
        if value.name in INPUT_FORMATS:
            assert config_of(body).input_format == value.name
        elif value.name == "UNDEFINED":
            assert only_mistake(body, "AM391", value.name) == "a static AIPP needs an `input_format`"
        else:
            assert only_mistake(body, "AM393", value.name) == f"images of the format `{value.name}` are not supported"
    assert INPUT_FORMATS == ("YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8")


def test_what_is_missing_is_told() -> None:
    assert only_mistake("aipp_mode: static", "AM391", "aipp_op") == "a static AIPP needs an `input_format`"
    assert only_mistake("input_format: RGB888_U8", "AM391", "aipp_op") == "an `aipp_op` needs an `aipp_mode`"
    assert only_mistake("aipp_mode: undefined input_format: RGB888_U8", "AM391", "undefined")
    (found,) = mistakes_of("# nothing\n")
    assert (found.code, found.message, found.file) == ("AM391", "there is no `aipp_op` in this file", "aipp.cfg")


def test_dynamic_aipp_is_refused_with_the_reason() -> None:
    message = only_mistake("aipp_mode: dynamic max_src_image_size: 752640", "AM392", "dynamic")
    assert message == "dynamic AIPP gets its parameters with every image at run time, so there are none to compute with"


def test_what_cannot_be_computed_is_refused() -> None:
    assert "reserves" in only_mistake(f"{RGB} resize: true resize_output_w: 32 resize_output_h: 32", "AM394", "true")
    assert "reserves" in only_mistake(f"{RGB} single_line_mode: true", "AM394", "true")
    gray = "aipp_mode: static input_format: YUV400_U8 csc_switch: true"
    assert "no colours" in only_mistake(gray, "AM394", "true")
    (found,) = mistakes_of(f"multi_shape_op {{ mode: resolution }} aipp_op {{ {RGB} }}")
    assert (found.code, found.location) == ("AM394", "aipp.cfg:1:1")


@pytest.mark.parametrize("name", RANGES)
def test_a_number_outside_its_range_is_refused(name: str) -> None:
    field = next(field for field in FIELDS if field.name == name)
    low, high = RANGES[name]
    outside: list[float | str] = (
        [high + 1, low - 1] if low < 0 or field.cpp_type != field.CPPTYPE_UINT32 else [high + 1]
    )
    if field.cpp_type == field.CPPTYPE_FLOAT:
        outside = [high + 0.01, "nan", "inf", "-inf", 3e38]
    for value in outside:
        message = only_mistake(f"{RGB} {name}: {value}", "AM395", str(value))
        assert message.startswith(f"`{name}` is ") and message.endswith(f", but must be {low:g} to {high:g}")
    for value in (low, high):
        config_of(f"{RGB} {name}: {value}")


def test_an_image_is_two_pixels_wide_at_least() -> None:
    assert "must be 2 to 4096, or 0" in only_mistake(f"{RGB} src_image_size_w: 1", "AM395", "1")
    assert config_of(f"{RGB} src_image_size_h: 1").source_height == 1


def test_a_number_that_the_schema_cannot_hold_is_refused() -> None:
    for value, code in (("4294967296", "AM112"), ("1.5", "AM111"), ('"1"', "AM111"), ("one", "AM111"), ("{}", "AM111")):
        (found,) = mistakes_of(f"aipp_op {{ {RGB} mean_chn_0: {value} }}")
        assert found.code == code
    (found,) = mistakes_of(f"aipp_op {{ {RGB} min_chn_0: 1e39 }}")
    assert found.code == "AM112"


@pytest.mark.parametrize(
    ("body", "at", "message"),
    [
        ("crop: true", "true", "with `crop`, `src_image_size_w` must be given"),
        ("padding: true", "true", "with `padding`, `src_image_size_w` must be given"),
    ],
)
def test_crop_and_padding_need_the_size_of_the_images(body: str, at: str, message: str) -> None:
    assert only_mistake(f"{RGB} src_image_size_h: 8 {body}", "AM396", at) == message


def test_what_is_cut_out_is_within_the_images() -> None:
    crop = f"{RGB} src_image_size_w: 32 src_image_size_h: 32 crop: true"
    config_of(f"{crop} load_start_pos_w: 8 crop_size_w: 24 load_start_pos_h: 31 crop_size_h: 1")
    message = only_mistake(f"{crop} load_start_pos_w: 9 crop_size_w: 24", "AM396", "24")
    assert message == "`load_start_pos_w` + `crop_size_w` is 33, which is beyond the image's 32 pixels"
    assert only_mistake(f"{crop} load_start_pos_h: 32", "AM396", "32") == (
        "`load_start_pos_h` is 32, which is beyond the image's 32 pixels"
    )
    message = only_mistake(f"{crop} padding: true crop_size_w: 8", "AM396", "true")
    assert message == "with `padding`, `crop_size_h` must be given"


def test_a_picture_is_4096_pixels_wide_at_most() -> None:
    padded = f"{RGB} src_image_size_h: 8 padding: true left_padding_size: 32"
    config_of(f"{padded} src_image_size_w: 4064")
    assert only_mistake(f"{padded} src_image_size_w: 4065", "AM396", "true").startswith(
        "the picture is 4097 pixels wide"
    )


@pytest.mark.parametrize(
    "name",
    ["src_image_size_w", "src_image_size_h", "load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h"],
)
def test_four_pixels_of_yuv420_share_a_colour(name: str) -> None:
    sizes = {"src_image_size_w": 32, "src_image_size_h": 32, "crop": "true", name: 5 if "src" not in name else 33}
    body = " ".join(f"{field}: {value}" for field, value in sizes.items())
    message = only_mistake(f"{YUV} {body}", "AM396", str(sizes[name]))
    assert message == f"`{name}` is {sizes[name]}, but must be even for `YUV420SP_U8`"
    config_of(f"{RGB} {body}")
