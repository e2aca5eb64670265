"""What is offered and told at a place, without the protocol around it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from amctc.diagnostics import Level
from amctc.lsp.completion import Suggestion, complete
from amctc.lsp.cursor import rough_tree
from amctc.lsp.fields import comments, flavour_of
from amctc.lsp.findings import find, fix_of
from amctc.lsp.hover import hover
from amctc.lsp.near_model import NearModel, near_model
from amctc.policy.flavours import FLAVOURS, Flavour
from amctc.quant.snq_settings import INIT_ALGOS
from amctc.source import SourceFile
from tests.lsp.marked import at_mark
from tests.shared_files import ROOT

DIGITS = ROOT / "examples/digits/digits.prototxt"
NET = NearModel(Path("net.prototxt"), {"conv1": "Convolution", 'odd"name': "ReLU", "fc": "InnerProduct"})


def offered(text: str, model: NearModel | None = NET) -> dict[str, Suggestion]:
    bare, offset = at_mark(text)
    return {found.label: found for found in complete(bare, offset, model)}


def applied(text: str, label: str) -> str:
    """The text after one suggestion is taken."""
    bare, _ = at_mark(text)
    found = offered(text)[label]
    return bare[: found.start] + found.text + bare[found.end :]


def told(text: str) -> str:
    bare, offset = at_mark(text)
    said = hover(bare, offset, NET)
    assert said is not None
    return said.text


def flavour(text: str) -> Flavour:
    return flavour_of(text, rough_tree(text))


def test_the_fields_of_a_message_are_offered_in_the_order_of_the_schema() -> None:
    assert list(offered("common_config { ifmr_quantize { | } }")) == [
        "search_range_start", "search_range_end", "search_step", "max_percentile", "min_percentile", "num_bits",
    ]  # fmt: skip


def test_what_is_written_is_not_offered_again_unless_it_may_be_repeated() -> None:
    left = offered('batch_num: 1\nskip_layers: "a"\n|\ndo_fusion: true')
    assert "skip_layers" in left
    assert not {"batch_num", "do_fusion"} & left.keys()


def test_of_a_oneof_one_member_is_offered() -> None:
    assert {"arq_quantize", "snq_quantize"} <= offered("common_config { | }").keys()
    assert not {"arq_quantize", "snq_quantize"} & offered("common_config { arq_quantize {} | }").keys()


def test_the_field_under_the_cursor_is_still_offered() -> None:
    assert applied("batch|_num", "batch_num") == "batch_num: "


def test_the_fields_offered_are_those_of_the_flavour() -> None:
    text = "common_config { hfmg_quantize { num_of_bins: 4096 | } }"
    assert flavour(text.replace("|", "")).name == "pytorch"
    assert {"asymmetric", "dst_type"} <= offered(text).keys()
    assert list(offered("common_config { hfmg_quantize { dst_type: | } }")) == ["INT8", "INT16"]


def test_truth_values_and_defaults_are_offered() -> None:
    found = offered("do_fusion: |")
    assert list(found) == ["true", "false"]
    assert found["true"].detail == "default"
    assert list(offered("common_config { ifmr_quantize { search_step: | } }")) == ["0.01"]


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("skip_layers: |", 'skip_layers: "conv1"'),
        ('skip_layers: "|"', 'skip_layers: "conv1"'),
        ('skip_layers: "co|x"', 'skip_layers: "conv1"'),
        ('skip_layers: "co|', 'skip_layers: "conv1"'),
        ('skip_layers: ["fc", "|"]', 'skip_layers: ["fc", "conv1"]'),
        ('override_layer_configs { layer_name: "c|" }', 'override_layer_configs { layer_name: "conv1" }'),
    ],
)
def test_a_layer_of_the_model_takes_the_place_of_what_is_begun(text: str, done: str) -> None:
    assert applied(text, "conv1") == done


def test_a_layers_name_is_quoted_as_it_must_be() -> None:
    assert applied("skip_layers: |", 'odd"name') == r'skip_layers: "odd\"name"'


def test_types_of_the_model_come_before_all_others() -> None:
    found = list(offered('skip_layer_types: "|"'))
    assert found[:2] == ["Convolution", "InnerProduct"] or set(found[:3]) == {"Convolution", "InnerProduct", "ReLU"}
    assert "Pooling" in found
    assert "Pooling" in offered('override_layer_types { layer_type: "|" }', None)
    assert "Conv2d" not in offered('override_layer_types { layer_type: "|" }', None)
    torch = 'common_config { hfmg_quantize { } } override_layer_types { layer_type: "|" }'
    assert {"Conv2d", "Linear", "LSTM"} <= offered(torch, None).keys()


def test_without_a_model_no_layer_is_offered() -> None:
    assert list(offered('skip_layers: "|"', None)) == ["glob:", "regex:"]


def test_algorithms_and_passes_are_offered() -> None:
    assert list(offered('common_config { snq_quantize { init_algo: "|" } }')) == list(INIT_ALGOS)
    assert "fuse-batchnorm" in offered('pass { name: "|" }')


def test_a_field_is_told_with_type_range_and_default() -> None:
    text = told("common_config { ifmr_quantize { num_b|its: 8 } }")
    assert text.startswith("**`num_bits`**: uint32\n")
    assert "- range: at least 8 and at most 16" in text
    assert "- default: 8" in text
    assert "- in: `common_config.ifmr_quantize`, of post-training quantization of Caffe models" in text


def test_the_defaults_of_the_renewal_are_told() -> None:
    assert "- default: 30" in told("bn_update_config { bn_update_iter|ations: 8 }")
    assert "- default: 0.5" in told("bn_update_config { bn_moving_average|_fraction: 0.25 }")


def test_a_oneof_is_told_with_its_other_members() -> None:
    assert "- instead of: `snq_quantize`" in told("common_config { arq|_quantize {} }")


def test_a_layer_is_told_with_its_type() -> None:
    assert told('skip_layers: "co|nv1"') == "**`conv1`**: a layer of type `Convolution` in `net.prototxt`"


def test_every_field_of_every_flavour_has_a_comment() -> None:
    missing = [
        f"{flavour.name}: {message.name}.{field.name}"
        for flavour in FLAVOURS.values()
        for message in flavour.descriptor.file.message_types_by_name.values()
        for field in message.fields
        if not comments(flavour.cfg_schema).get(f"{message.name}.{field.name}")
    ]
    assert missing == []


def test_comments_about_numbers_are_not_told() -> None:
    for flavour in FLAVOURS.values():
        assert not [
            text for text in comments(flavour.cfg_schema).values() if "number ours" in text or "numbers" in text
        ]


def test_a_pattern_is_told_with_the_layers_it_stands_for() -> None:
    assert told('skip_layers: "gl|ob:*c*"') == "**`glob:*c*`**: 2 of 3 layers in `net.prototxt`\n\n`conv1`, `fc`"
    assert "1 of 3 layers" in told(r'override_layer_configs { layer_name: "regex:|conv\\d" }')


def test_patterns_are_offered_where_they_may_stand() -> None:
    assert {"glob:", "regex:"} <= offered('skip_layers: "|"').keys()
    assert applied("skip_layers: |", "glob:") == 'skip_layers: "glob:"'
    assert "glob:" not in offered('skip_layer_types: "|"')


def test_a_comment_states_the_flavour() -> None:
    assert flavour("# amctc: flavour=ge\n").name == "ge"
    assert "tensor_quantize" in offered("# amctc: flavour = ge\n|")
    (found,) = find(SourceFile("p.cfg", "# amctc: flavour=gee\nbatch_num: 1\n"), None)
    assert found.code == "AM231"
    assert found.span is not None and found.span.text == "gee"
    fix = fix_of(found)
    assert fix is not None and fix.text == "ge"
    (found,) = find(SourceFile("p.cfg", "# amctc: flavour=pytorch-qat\ndo_fusion: true\n"), None)
    assert found.code == "AM200"


# The model next to a policy.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(DIGITS, tmp_path)
    return tmp_path


def test_the_only_net_of_the_folder_is_the_model(folder: Path) -> None:
    model, problem = near_model(SourceFile("p.cfg", ""), folder / "p.cfg")
    assert model is not None and problem is None
    assert model.layers["conv1"] == "Convolution"
    assert model.graph is not None
    (folder / "other.prototxt").write_text("", encoding="utf-8")
    assert near_model(SourceFile("p.cfg", ""), folder / "p.cfg") == (None, None)


def test_a_comment_names_the_model(folder: Path) -> None:
    (folder / "deep").mkdir()
    path = folder / "deep/p.cfg"
    model, _ = near_model(SourceFile("p.cfg", "# about\n  #amctc: model = ../digits.prototxt \r\n"), path)
    assert model is not None and "conv1" in model.layers
    assert near_model(SourceFile("p.cfg", "# amctc: model=none"), folder / "p.cfg") == (None, None)


@pytest.mark.parametrize("name", ["digit.prototxt", ".", "/dev/zero", "x\0y", "x" * 5000])
def test_a_comment_that_names_no_model_is_warned_of(folder: Path, name: str) -> None:
    source = SourceFile("p.cfg", f"batch_num: 1\n# amctc: model={name}\n")
    model, problem = near_model(source, folder / "p.cfg")
    assert model is None and problem is not None
    assert (problem.code, problem.level) == ("AM830", Level.WARNING)
    assert problem.span is not None and problem.span.text == name


def test_a_net_that_is_wrong_still_gives_names(folder: Path) -> None:
    (folder / "digits.prototxt").write_text(
        'layer { name: "a" type: "NoSuch" bottom: "x" } layers { name: "b" type: RELU } layer { top: "y" }',
        encoding="utf-8",
    )
    model, _ = near_model(SourceFile("p.cfg", ""), folder / "p.cfg")
    assert model is not None and model.graph is None
    assert model.layers == {"a": "NoSuch", "b": "RELU"}


def test_a_model_that_changed_is_read_again(folder: Path) -> None:
    net = folder / "digits.prototxt"
    near_model(SourceFile("p.cfg", ""), folder / "p.cfg")
    net.write_text(net.read_text(encoding="utf-8").replace('"fc"', '"fully_connected"'), encoding="utf-8")
    model, _ = near_model(SourceFile("p.cfg", ""), folder / "p.cfg")
    assert model is not None and "fully_connected" in model.layers and "fc" not in model.layers


def test_names_are_checked_against_the_model(folder: Path) -> None:
    source = SourceFile("p.cfg", 'skip_layers: "conv11"\n')
    (found,) = find(source, folder / "p.cfg")
    assert found.code == "AM220"
    fix = fix_of(found)
    assert fix is not None and fix.text == '"conv1"' and fix.span.text == '"conv11"'
    assert find(source, None) == ()


@pytest.mark.parametrize(
    ("text", "code", "mended"),
    [
        ("batch_nun: 1", "AM200", "batch_num: 1"),
        ("skip_layers: conv1", "AM201", 'skip_layers: "conv1"'),
        (
            "common_config { snq_quantize { init_algo: 'gausian' } }",
            "AM203",
            'common_config { snq_quantize { init_algo: "gaussian" } }',
        ),
    ],
)
def test_a_proposed_change_mends_the_text(text: str, code: str, mended: str) -> None:
    (found,) = find(SourceFile("p.cfg", text), None)
    assert found.code == code
    fix = fix_of(found)
    assert fix is not None
    assert text[: fix.span.start] + fix.text + text[fix.span.end :] == mended
    assert find(SourceFile("p.cfg", mended), None) == ()


def test_of_a_net_the_syntax_alone_is_looked_at(tmp_path: Path) -> None:
    assert find(SourceFile("n", 'layer { name: "x" }'), tmp_path / "n.prototxt") == ()
    (found,) = find(SourceFile("n", "layer {"), tmp_path / "n.prototxt")
    assert found.code == "AM101"
