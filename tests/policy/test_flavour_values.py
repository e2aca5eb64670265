"""Wrong values in the policy languages, told at their places, and members of a oneof that overrule each other."""

from __future__ import annotations

import pytest

from amctc.diagnostics import Level
from amctc.policy import Said
from amctc.policy.flavours import FLAVOURS
from tests.policy.texts import cfg, places, refusal


def in_json(text: str, flavour: str | None = None) -> list[tuple[str, int, int]]:
    return places(refusal(text, "config.json", flavour))


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("common_config { arq_quantize { quant_bits: 5 } }", "AM210", 44),
        ("common_config { hfmg_quantize { num_of_bins: 1000 } }", "AM210", 46),
        ("common_config { hfmg_quantize { dst_type: INT4 } }", "AM203", 43),
        ("common_config { hfmg_quantize { search_step: 1 } }", "AM200", 33),
        ("common_config { ada_quantize { reg_param: 1 } }", "AM210", 43),
        ("common_config { ada_quantize { warm_start: 0 } }", "AM210", 44),
        ("common_config { ada_quantize { beta_range_end: 20 } }", "AM240", 48),
        ("common_config { ada_quantize { beta_range_start: 0 } }", "AM210", 50),
        ("common_config { dmq_balancer { migration_strength: 0.1 } }", "AM210", 52),
        ("fakequant_precision_mode: DEFAULT", "AM203", 27),
        ("version: 2 joint_quant: true", "AM210", 10),
        ("tensor_quantize { layer_name: 'a' }", "AM204", 17),
        ("tensor_quantize { layer_name: 'a' input_index: 0 ifmr_quantize { search_step: 2 } }", "AM213", 79),
        ("common_config { arq_quantize { asymmetric: true } } joint_quant: true", "AM241", 44),
        ("joint_quant: false common_config { arq_quantize { quant_bits: 4 } }", "AM210", 63),
        ("override_layer_types { layer_type: 'Linear' calibration_config { ada_quantize { } "
         "ifmr_quantize { max_percentile: 2 } } }", "AM210", 115),
        ("override_layer_types { layer_type: 'GRU' calibration_config { ada_quantize { } } }", "AM226", 63),
        ("override_layer_types { layer_type: 'GRU' calibration_config { arq_quantize { quant_bits: 6 } } }",
         "AM226", 90),
        ("override_layer_types { layer_type: 'AvgPool2d' calibration_config { arq_quantize { channel_wise: true "
         "quant_bits: 8 } } }", "AM227", 98),
        ("override_layer_types { layer_type: 'Conv3d' calibration_config { ifmr_quantize { dst_type: INT16 } } }",
         "AM244", 92),
        ("override_layer_types { layer_type: 'Conv3d' calibration_config { ifmr_quantize { asymmetric: true } } }",
         "AM244", 94),
    ],
)  # fmt: skip
def test_a_wrong_value_of_a_cfg_is_told_at_its_place(text: str, code: str, column: int) -> None:
    assert places(refusal(text)) == [(code, 1, column)]


def test_an_input_that_is_quantized_twice_is_told() -> None:
    text = "tensor_quantize { layer_name: 'a' input_index: 0 }\n" * 2
    (found,) = refusal(text)
    assert places((found,)) == [("AM211", 2, 31)]
    assert found.related[0].span.line == 1


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ('{"c":{"dmq_balancer_param":0.9}}', "AM210", 28),
        ('{"c":{"dmq_balancer_param":"x"}}', "AM201", 28),
        ('{"c":{"activation_quant_params":{"act_algo":"kl"}}}', "AM203", 45),
        ('{"c":{"activation_quant_params":{"act_algo":"ifmr","num_of_bins":1024}}}', "AM200", 52),
        ('{"c":{"activation_quant_params":{"act_algo":"hfmg","search_step":0.1}}}', "AM200", 52),
        ('{"c":{"activation_quant_params":{"act_algo":"hfmg","num_of_bins":1000}}}', "AM210", 66),
        ('{"c":{"activation_quant_params":{"act_algo":"ifmr","num_bits":12}}}', "AM210", 63),
        ('{"c":{"activation_quant_params":{"act_algo":"ifmr","search_step":2}}}', "AM213", 66),
        ('{"c":{"weight_quant_params":{"wts_algo":"ada_quantize","beta_range":[2,20]}}}', "AM240", 72),
        ('{"c":{"weight_quant_params":{"wts_algo":"ada_quantize","beta_range":[2]}}}', "AM215", 69),
        ('{"c":{"weight_quant_params":{"wts_algo":"ada_quantize","num_bits":5}}}', "AM210", 67),
        ('{"c":{"weight_quant_params":{"wts_algo":"arq_quantize","reg_param":0.1}}}', "AM200", 56),
        ('{"c":{"weight_quant_params":{"asymmetric":true}}}', "AM241", 43),
        ('{"tensor_quantize":[{"layer_name":"a"}]}', "AM204", 21),
        ('{"tensor_quantize":[],"enable_auto_nuq":true,"fakequant_precision_mode":"DEFAULT"}', "AM228", 46),
        ('{"weight_offset":1}', "AM201", 18),
        ('{"fakequant_precision_mode":"FP16"}', "AM203", 29),
    ],
)
def test_a_wrong_value_of_a_layer_config_is_told_at_its_place(text: str, code: str, column: int) -> None:
    assert in_json(text) == [(code, 1, column)]


@pytest.mark.parametrize("flavour", list(FLAVOURS))
@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ('{\n"a":{},\n"b":{},\n"a":{}}', "AM130", 4, 1),
        ('{\n"a":{},\n}', "AM101", 2, 7),
        ('{\n"a":{}, // first\n"b":{}}', "AM101", 2, 9),
        ('{\n"a":{}, /* first */\n"b":{}}', "AM101", 2, 9),
        ('{\n# first\n"a":{}}', "AM101", 2, 1),
    ],
)
def test_what_is_not_json_is_told_at_its_place(flavour: str, text: str, code: str, line: int, column: int) -> None:
    assert in_json(text, flavour) == [(code, line, column)]


# A oneof told twice.


def test_two_members_of_a_oneof_are_warned_of_and_the_last_holds() -> None:
    policy = cfg("common_config {\n  arq_quantize { }\n  snq_quantize { }\n}\n")
    (warning,) = policy.warnings
    assert (warning.code, warning.level, warning.message) == (
        "AM230",
        Level.WARNING,
        "`snq_quantize` on line 3 overrules `arq_quantize` on line 2",
    )
    assert policy.common_config is not None and policy.common_config.weights is not None
    assert policy.common_config.weights.algorithm == Said("snq_quantize")


def test_members_of_a_oneof_in_two_parts_of_a_message_are_warned_of_too() -> None:
    policy = cfg(
        "common_config { snq_quantize { } }\ncommon_config { ifmr_quantize { } }\ncommon_config { arq_quantize { } }"
    )
    assert places(policy.warnings) == [("AM230", 3, 17)]
