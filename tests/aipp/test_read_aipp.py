"""AIPP files: what they say, GE's defaults, and every mistake at its place."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from amctc.aipp.checks import RANGES
from amctc.aipp.color import RGB_TO_YUV, YUV_TO_RGB, preset_name
from amctc.aipp.config import AippConfig, Crop, Csc, Normalization, Padding
from amctc.aipp.fields import MATRIX
from amctc.aipp.read import MAX_BYTES, parse_aipp, read_aipp
from amctc.diagnostics import DiagnosticError
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.aipp.files import RGB, YUV, config_of, mistakes_of, warnings_of
from tests.shared_files import SEEDS, needs_seeds
from tests.test_docs import table_rows


def test_the_schema_has_the_names_and_numbers_of_both_generations() -> None:
    fields = load_schema("aipp.proto").descriptor("domi.AippOpParams").fields_by_name
    spans = {
        (1, 6): "aipp_mode related_input_rank input_edge_idx max_src_image_size support_rotation related_input_name",
        (51, 56): "input_format csc_switch cpadding_value rbuv_swap_switch ax_swap_switch single_line_mode",
        (57, 63): "src_image_size_w src_image_size_h crop load_start_pos_w load_start_pos_h crop_size_w crop_size_h",
        (64, 67): "resize resize_output_w resize_output_h padding",
        (68, 72): "left_padding_size right_padding_size top_padding_size bottom_padding_size padding_value",
    }
    numbers = {field.name: field.number for field in fields.values()}
    for (first, last), names in spans.items():
        assert [numbers[name] for name in names.split()] == list(range(first, last + 1))
    matrix = [numbers[f"matrix_r{row}c{column}"] for row in range(3) for column in range(3)]
    assert matrix == list(range(30, 39))
    for name, wanted in (
        ("mean_chn", (10, 11, 12, 19)),
        ("min_chn", (13, 14, 15, 20)),
        ("var_reci_chn", (16, 17, 18, 21)),
        ("output_bias", (39, 40, 41)),
        ("input_bias", (42, 43, 44)),
    ):
        assert tuple(numbers[f"{name}_{channel}"] for channel in range(len(wanted))) == wanted
    assert numbers["raw_rgbir_to_f16_n"] == 45
    assert len(numbers) == 56
    lists = {name for name, field in fields.items() if field.is_repeated}
    assert lists == {name for name in numbers if re.match("matrix|var_reci|output_bias|input_bias", name)} | {
        "input_edge_idx"
    }


@needs_seeds
def test_the_example_of_the_manual_is_read() -> None:
    text = (SEEDS / "000_aclgrphCalibration.md").read_text(encoding="utf-8")
    found = re.search(r"```(aipp_op \{.*?)```", text)
    assert found is not None
    (config,) = parse_aipp(SourceFile("manual", found[1].replace("⏎", "\n")))
    assert config.input_format == "YUV420SP_U8"
    assert preset_name(config) == "YUV to BGR, BT.601 narrow"
    assert config.normalization.factor == (0.00392157, 0.00392157, 0.00392157, 1.0)
    assert (config.crop, config.padding, config.input_rank, config.input_name) == (None, None, 0, None)


def test_what_is_not_written_is_as_ge_fills_it_in() -> None:
    bias = (16, 128, 128)
    assert config_of(f"{YUV} csc_switch: true").csc == Csc(
        ((298, 516, 0), (298, -100, -208), (298, 0, 409)), bias, bias
    )
    assert config_of(f"{RGB} csc_switch: true").csc == Csc(
        ((66, 129, 25), (-38, -74, 112), (112, -94, -18)), bias, bias
    )
    partly = config_of(f"{RGB} csc_switch: true matrix_r1c2: 5 output_bias_0: 0").csc
    assert partly == Csc(((66, 129, 25), (-38, -74, 5), (112, -94, -18)), bias, (0, 128, 128))
    assert config_of(RGB) == AippConfig("RGB888_U8")
    assert config_of(RGB).normalization == Normalization((0, 0, 0, 0), (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0))


def test_everything_that_is_written_is_read() -> None:
    config = config_of(
        "aipp_mode: static input_format: XRGB8888_U8 related_input_rank: 2 src_image_size_w: 64 src_image_size_h: 48 "
        "rbuv_swap_switch: true ax_swap_switch: true crop: true load_start_pos_w: 3 load_start_pos_h: 4 "
        "crop_size_w: 32 crop_size_h: 16 padding: true left_padding_size: 1 right_padding_size: 2 top_padding_size: 3 "
        "bottom_padding_size: 32 padding_value: -0.5 mean_chn_0: 1 mean_chn_3: 4 min_chn_1: 2.5 var_reci_chn_2: -8"
    )
    assert config == AippConfig(
        "XRGB8888_U8",
        2,
        source_width=64,
        source_height=48,
        rbuv_swap=True,
        ax_swap=True,
        crop=Crop(3, 4, 32, 16),
        padding=Padding(1, 2, 3, 32, -0.5),
        normalization=Normalization((1, 0, 0, 4), (0.0, 2.5, 0.0, 0.0), (1.0, 1.0, -8.0, 1.0)),
    )
    assert config.places["crop_size_w"].text == "32"
    assert config.places["aipp_op"].text == "aipp_op"


def test_every_input_has_its_own_operator() -> None:
    by_rank = parse_aipp(SourceFile("a", f"aipp_op {{ {RGB} related_input_rank: 1 }} aipp_op {{ {YUV} }}"))
    assert [(config.input_rank, config.input_format) for config in by_rank] == [(1, "RGB888_U8"), (0, "YUV420SP_U8")]
    name = 'related_input_name: "im_{}"'
    text = f"aipp_op {{ {RGB} {name.format(1)} }} aipp_op {{ {RGB} {name.format(2)} }}"
    assert [config.input_name for config in parse_aipp(SourceFile("a", text))] == ["im_1", "im_2"]


def test_misspelt_words_are_told_with_the_nearest() -> None:
    (found,) = mistakes_of(f"aipp_op {{\n  {RGB}\n  src_image_sizew: 3\n}}")
    assert (found.code, found.location) == ("AM110", "aipp.cfg:3:3")
    assert found.help == "did you mean `src_image_size_w`?"
    (found,) = mistakes_of("aipp_op { aipp_mode: static input_format: RGB888 }")
    assert (found.code, found.help) == ("AM113", "did you mean `RGB888_U8`?")
    (found,) = mistakes_of("aipp_op { aipp_mode: Static input_format: RGB888_U8 }")
    assert (found.code, found.help) == ("AM113", "did you mean `static`?")


def test_fields_without_an_operator_around_them_are_told_where_they_belong() -> None:
    found = mistakes_of("aipp_mode: static\ninput_format: RGB888_U8\n")
    assert [(each.code, each.help) for each in found] == [
        ("AM110", "write it inside an operator: `aipp_op { aipp_mode: ... }`"),
        ("AM110", "write it inside an operator: `aipp_op { input_format: ... }`"),
    ]


def test_all_mistakes_are_told_in_the_order_of_the_file() -> None:
    found = mistakes_of(f"aipp_op {{ {RGB} resize: true mean_chn_0: 999 crop: maybe }} multi_shape_op {{}}")
    assert [each.code for each in found] == ["AM394", "AM395", "AM111", "AM394"]


@pytest.mark.parametrize(
    ("body", "what", "why"),
    [
        ("crop_size_w: 8", "`crop_size_w` has", "because `crop` is not switched on"),
        ("padding_value: 1", "`padding_value` has", "because `padding` is not switched on"),
        ("resize_output_w: 8", "`resize_output_w` has", "because `resize` is not switched on"),
        ("matrix_r0c0: 1 input_bias_0: 0", "`matrix_r0c0` and 1 more have", "because `csc_switch` is not switched on"),
        ("csc_switch: true input_bias_0: 0", "`input_bias_0` has", "in a conversion from RGB"),
        ("ax_swap_switch: true", "`ax_swap_switch` has", "because the images have no fourth channel"),
        ("mean_chn_3: 1", "`mean_chn_3` has", "because there are 3 channels"),
        ("max_src_image_size: 9", "`max_src_image_size` has", "in static AIPP"),
        ("raw_rgbir_to_f16_n: 3", "`raw_rgbir_to_f16_n` has", "on images of the format `RGB888_U8`"),
        ("cpadding_value: 3", "`cpadding_value` has", "because GE reserves it"),
        ("input_edge_idx: [0, 1]", "`input_edge_idx` has", "because all that read an input read the same of it"),
        (
            'related_input_name: "a" related_input_rank: 1',
            "`related_input_rank` has",
            "because `related_input_name` goes before it",
        ),
    ],
)
def test_what_has_no_effect_is_told(body: str, what: str, why: str) -> None:
    assert warnings_of(f"{RGB} {body}") == [f"{what} no effect {why}"]


def test_what_has_no_effect_on_other_formats_is_told() -> None:
    gray = "aipp_mode: static input_format: YUV400_U8"
    assert warnings_of(f"{gray} rbuv_swap_switch: true var_reci_chn_1: 2") == [
        "`rbuv_swap_switch` has no effect because the images have one channel",
        "`var_reci_chn_1` has no effect because there is 1 channel",
    ]
    assert warnings_of(f"{YUV} csc_switch: true output_bias_2: 0") == [
        "`output_bias_2` has no effect in a conversion from YUV"
    ]


def test_a_template_with_every_default_written_out_gives_no_warning() -> None:
    matrix = (298, 516, 0, 298, -100, -208, 298, 0, 409)
    lines = [f"matrix_r{at // 3}c{at % 3}: {value}" for at, value in enumerate(matrix)]
    lines += [f"{kind}_bias_{at}: {value}" for kind in ("input", "output") for at, value in enumerate((16, 128, 128))]
    lines += [
        f"{name}_chn_{at}: {value}" for name, value in (("mean", 0), ("min", 0.0), ("var_reci", 1.0)) for at in range(4)
    ]
    switches = ("crop", "resize", "padding", "csc_switch", "rbuv_swap_switch", "ax_swap_switch", "single_line_mode")
    lines += [f"{name}: false" for name in (*switches, "support_rotation")]
    lines += [f"{name}: 0" for name in RANGES if re.search("size|pos|padding", name)]
    lines += ["max_src_image_size: 0", "related_input_rank: 0", 'related_input_name: ""', "raw_rgbir_to_f16_n: 8"]
    assert warnings_of(" ".join([RGB, *lines])) == []


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "aipp.cfg"
    path.write_text(f"aipp_op {{ {RGB} mean_chn_0: 256 }}", encoding="utf-8")
    with pytest.raises(DiagnosticError) as refusal:
        read_aipp(path)
    assert refusal.value.diagnostics[0].location == f"{path}:1:65"
    path.write_text(f"aipp_op {{ {RGB} }}", encoding="utf-8")
    assert read_aipp(path) == (AippConfig("RGB888_U8"),)
    path.write_text("#" * (MAX_BYTES + 1), encoding="utf-8")
    with pytest.raises(DiagnosticError) as refusal:
        read_aipp(path)
    assert refusal.value.diagnostics[0].code == "AM102"
    with pytest.raises(DiagnosticError):
        read_aipp(tmp_path / "absent.cfg")


def test_the_page_tells_every_range_and_conversion() -> None:
    told: dict[str, str] = {}
    for row in table_rows("aipp.md", "numbers"):
        for name in re.findall(r"`(\w+)`", row[0]):
            told |= {name.removesuffix("_i"): row[1]}
    told |= dict.fromkeys(chain(*MATRIX), told["matrix_r0c0"])  # the page names the first and the last of them
    stems = {re.sub(r"(_chn|_bias)_\d$", r"\1", name): limits for name, limits in RANGES.items()}
    assert told == {name: f"{low:g} to {high:g}" for name, (low, high) in stems.items()}
    for heading, table in (("YUV to RGB", YUV_TO_RGB), ("RGB to YUV", RGB_TO_YUV)):
        shown = {row[0]: (row[1], row[2]) for row in table_rows("aipp.md", heading)}
        assert shown == {
            name: ("; ".join(", ".join(map(str, line)) for line in matrix), ", ".join(map(str, bias)))
            for name, (matrix, bias) in table.items()
        }
