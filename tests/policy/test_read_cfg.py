"""Reading .cfg policies: what they say, and every mistake at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.policy import Policy, Said
from tests.policy.texts import SAMPLE_CFG, cfg, mistakes_of, only_mistake


def common_ifmr(body: str) -> str:
    return f"common_config {{ ifmr_quantize {{ {body} }} }}"


def common_snq(body: str) -> str:
    return f"common_config {{ snq_quantize {{ {body} }} }}"


def test_an_empty_policy_says_nothing() -> None:
    assert cfg("# nothing\n") == Policy()


def test_the_sample_of_the_manual_is_read() -> None:
    policy = cfg(SAMPLE_CFG)
    assert policy.skip_layers == (Said("pool1"),)
    assert policy.skip_layer_types == (Said("Softmax"),)
    assert policy.skip_fusion_layers == (Said("conv1"),)
    assert policy.do_fusion == Said(True)
    assert policy.update_bn == Said(True)
    assert policy.batch_num is None
    assert policy.bn_update_config is not None
    assert policy.bn_update_config.bn_update_iterations == Said(30)
    assert policy.bn_update_config.bn_dump_dir == Said("tmp/bn_data")
    common = policy.common_config
    assert common is not None and common.weights is not None and common.ifmr is not None
    assert common.weights.algorithm == Said("snq_quantize")
    assert common.weights.min_distance == Said(1e-10)
    assert common.weights.init_algo == Said("gaussian")
    (by_type,) = policy.override_layer_types
    assert by_type.name == Said("InnerProduct")
    (by_name,) = policy.override_layer_configs
    assert by_name.config.ifmr is not None
    assert by_name.config.ifmr.search_range_end == Said(1.2)
    assert policy.warnings == ()


def test_numbers_are_those_that_are_written() -> None:
    common = cfg(common_ifmr("search_range_start: 0.7 search_step: 0.6 max_percentile: 0.999999")).common_config
    assert common is not None and common.ifmr is not None
    assert common.ifmr.search_range_start == Said(0.7)
    assert common.ifmr.max_percentile == Said(0.999999)


def test_every_value_keeps_its_place() -> None:
    policy = cfg("\nbatch_num: 12\n")
    assert policy.batch_num is not None and policy.batch_num.span is not None
    assert str(policy.batch_num.span) == "quant.cfg:2:12"


def test_passes_and_their_options_are_read() -> None:
    text = 'pass { name: "fuse-relu" option { key: "limit" value: "6" } option { key: "deep" value: "true" } }'
    (entry,) = cfg(text).passes
    assert entry.name == Said("fuse-relu")
    assert {key: value for key, (value, _) in entry.option_texts.items()} == {"limit": "6", "deep": "true"}


def test_a_policy_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "quant.cfg"
    path.write_text("batch_num: 3\n", encoding="utf-8")
    assert Policy.from_file(path).batch_num == Said(3)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_file(tmp_path / "none.cfg")
    assert caught.value.diagnostics[0].code == "AM100"


def test_an_unknown_field_names_the_nearest_one() -> None:
    found = only_mistake("batch_num: 1\nskip_layer: 'a'\n")
    assert (found.code, str(found.span)) == ("AM200", "quant.cfg:2:1")
    assert found.help == "did you mean `skip_layers`?"


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("batch_num: 'two'", "AM201", 12),
        ("batch_num: 0", "AM210", 12),
        ("batch_num: -1", "AM202", 12),
        ("batch_num: 4294967296", "AM202", 12),
        ("activation_offset: 2", "AM201", 20),
        (common_ifmr("num_bits: 7"), "AM210", 43),
        (common_ifmr("num_bits: 17"), "AM210", 43),
        (common_ifmr("max_percentile: 0.5"), "AM210", 49),
        (common_ifmr("max_percentile: 1.00000001"), "AM210", 49),
        (common_ifmr("min_percentile: 1.1"), "AM210", 49),
        (common_ifmr("min_percentile: nan"), "AM210", 49),
        (common_ifmr("search_range_start: 0"), "AM210", 53),
        (common_ifmr("search_range_end: -1.0"), "AM210", 51),
        (common_ifmr("search_range_end: 0.7"), "AM212", 51),
        (common_ifmr("search_range_start: 1.3"), "AM212", 53),
        (common_ifmr("search_step: 0"), "AM210", 46),
        (common_ifmr("search_step: 0.6000001"), "AM213", 46),
        (common_ifmr("search_step: 0.60000000001"), "AM213", 46),
        (common_ifmr("search_step: 0.00005"), "AM214", 46),
        ("common_config { arq_quantize { num_bits: 7 } }", "AM210", 42),
        (common_snq("max_iteration: 499"), "AM210", 47),
        (common_snq("max_iteration: 2001"), "AM210", 47),
        (common_snq("min_distance: 9e-11"), "AM210", 46),
        (common_snq("min_distance: 1.1e-3"), "AM210", 46),
        (common_snq("init_algo: 'random'"), "AM203", 43),
        ("bn_update_config { bn_update_iterations: 0 }", "AM210", 42),
        ("bn_update_config { bn_update_iterations: 1000 }", "AM210", 42),
        ("bn_update_config { bn_moving_average_fraction: 1.0 }", "AM210", 48),
        ("bn_update_config { bn_moving_average_fraction: 0 }", "AM210", 48),
        ('skip_layers: "a" skip_layers: "a"', "AM211", 31),
        ('skip_layer_types: ["a", "b", "a"]', "AM211", 30),
        ('skip_fusion_layers: ["a", "a"]', "AM211", 27),
        ("override_layer_types { calibration_config { } }", "AM204", 22),
        ('override_layer_configs { layer_name: "a" }', "AM204", 24),
        ('pass { name: "a" option { key: "k" value: "1" } option { key: "k" value: "2" } }', "AM211", 63),
        ("batch_num 1", "AM101", 11),
    ],
)
def test_a_wrong_value_is_told_at_its_place(text: str, code: str, column: int) -> None:
    assert mistakes_of("\n" + text) == [(code, 2, column)]


@pytest.mark.parametrize(
    "text",
    [
        common_ifmr("num_bits: 8"),
        common_ifmr("num_bits: 16"),
        common_ifmr("max_percentile: 1.0"),
        common_ifmr("min_percentile: 0.5000001"),
        common_ifmr("search_step: 0.6"),
        common_ifmr("search_range_start: 0.1 search_range_end: 0.4 search_step: 0.3"),
        common_ifmr("search_step: 0.00006"),
        common_snq("max_iteration: 500"),
        common_snq("max_iteration: 2000"),
        common_snq("min_distance: 1e-3"),
        common_snq("init_algo: 'd2sampling'"),
        "update_bn: true bn_update_config { bn_update_iterations: 999 bn_moving_average_fraction: 0.999 }",
        common_snq("init_algo: 'optimal'"),
        "batch_num: 4294967295",
    ],
)
def test_the_ends_of_a_range_are_allowed(text: str) -> None:
    assert {warning.code for warning in cfg(text).warnings} <= {"AM270", "AM271"}  # advice


def test_what_is_not_written_is_noted_beside_a_search_that_cannot_be() -> None:
    found = only_mistake(common_ifmr("search_range_end: 0.5"))
    assert found.message == "the search range ends at 0.5, which is not above its start 0.7"
    assert found.notes == ("`search_range_start` is not written here, so it is 0.7",)


def test_a_repeated_override_points_at_the_first() -> None:
    override = 'override_layer_configs { layer_name: "a" calibration_config { } }\n'
    found = only_mistake(override + override)
    assert (found.code, str(found.span)) == ("AM211", "quant.cfg:2:38")
    assert [str(label.span) for label in found.related] == ["quant.cfg:1:38"]


def test_a_channel_scale_for_a_type_that_has_none_is_refused() -> None:
    text = """\
override_layer_types {
  layer_type: "InnerProduct"
  calibration_config { arq_quantize { channel_wise: true } }
}
"""
    found = only_mistake(text)
    assert (found.code, str(found.span)) == ("AM227", "quant.cfg:3:53")
    assert found.help == "write `channel_wise: false`"


def test_weights_for_a_type_without_any_are_refused() -> None:
    text = 'override_layer_types { layer_type: "Pooling"\n  calibration_config { arq_quantize { } } }'
    found = only_mistake(text)
    assert (found.code, str(found.span)) == ("AM226", "quant.cfg:2:24")
    assert found.message == "layers of type `Pooling` have no weights to quantize"


def test_two_weight_algorithms_in_one_config_are_warned_of_and_the_last_holds() -> None:
    policy = cfg("common_config {\n  snq_quantize { }\n  arq_quantize { }\n}")
    assert policy.common_config is not None and policy.common_config.weights is not None
    assert policy.common_config.weights.algorithm == Said("arq_quantize")
    (warning,) = policy.warnings
    assert (warning.code, str(warning.span)) == ("AM230", "quant.cfg:3:3")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
batch_num: 0
colour: "red"
skip_layers: "a"
skip_layers: "a"
common_config { ifmr_quantize { num_bits: 99 search_step: 9.0 } }
"""
    assert mistakes_of(text) == [
        ("AM210", 1, 12),
        ("AM200", 2, 1),
        ("AM211", 4, 14),
        ("AM210", 5, 43),
        ("AM213", 5, 59),
    ]


def test_the_text_of_a_diagnostic_shows_the_place() -> None:
    found = only_mistake("batch_num: 1\ncommon_config { ifmr_quantize { num_bits: 20 } }\n")
    assert str(found) == (
        "error[AM210]: `num_bits` must be at least 8 and at most 16, not 20\n"
        "  --> quant.cfg:2:43\n"
        "2 | common_config { ifmr_quantize { num_bits: 20 } }\n"
        "  |                                           ^^\n"
        "  help: 12 bits are the widest that seldom overflow"
    )


def test_of_very_many_values_told_twice_the_first_ten_are_told() -> None:
    warnings = cfg("batch_num: 1 " * 500).warnings
    assert [found.code for found in warnings] == ["AM232"] * 10
    assert warnings[-1].notes == ("the same holds in 489 more places",)
