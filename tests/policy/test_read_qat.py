"""Policies of quantization-aware training: what they say in both forms, and every mistake at its place."""

from __future__ import annotations

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError, Level
from amctc.policy import Policy, Said
from amctc.policy.rules_qat import TrainingDataRule, TrainingRule, TrainingWeightRule
from amctc.source import SourceFile
from tests.policy.texts import cfg, layer_config, places

PYTORCH = """\
batch_num: 4
fakequant_precision_mode: FORCE_FP16_QUANT
retrain_data_quant_config: {
    ulq_quantize: {
        clip_max_min: { clip_max: 3.0 clip_min: -2.5 }
        fixed_min: true
        dst_type: INT16
    }
}
retrain_weight_quant_config: { arq_retrain: { channel_wise: true dst_type: INT8 } }
skip_layers: "conv1"
skip_layer_types: "Linear"
quant_skip_layers: "conv2"
quant_skip_types: "Conv3d"
regular_prune_skip_layers: "conv4"
regular_prune_skip_types: "ConvTranspose2d"
prune_config: { filter_pruner: { balanced_l2_norm_filter_prune: { prune_ratio: 0.25 ascend_optimized: false } } }
override_layer_types: {
    layer_type: "Conv1d"
    prune_config: { n_out_of_m_pruner: { l1_selective_prune: { n_out_of_m_type: M4N2 update_freq: 5 } } }
}
override_layer_configs: {
    layer_name: "conv3"
    retrain_weight_quant_config: { ulq_retrain: { channel_wise: false dst_type: INT4 } }
}
"""

CAFFE = """\
retrain_data_quant_config: { ulq_quantize: { clip_max_min { clip_max: 3 clip_min: -3 } num_bits: 12 } }
retrain_weight_quant_config: { arq_retrain: { channel_wise: true num_bits: 8 } }
override_layer_types: {
    layer_type: "InnerProduct"
    retrain_weight_quant_config: { arq_retrain: { channel_wise: false } }
}
skip_layers: "conv1"
"""


def training(policy: Policy) -> TrainingRule:
    assert policy.training is not None
    return policy.training


def refusal(text: str, name: str, flavour: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile(name, text), flavour)
    return caught.value.diagnostics


def test_everything_of_the_pytorch_flavour_is_read() -> None:
    policy = cfg(PYTORCH)
    assert policy.flavour.name == "pytorch-qat"
    assert (policy.batch_num, policy.fakequant_precision_mode) == (Said(4), Said("FORCE_FP16_QUANT"))
    rule = training(policy)
    assert rule.common.data == TrainingDataRule(
        Said("ulq_quantize"), Said(3.0), Said(-2.5), Said(True), dst_type=Said("INT16")
    )
    assert rule.common.weights == TrainingWeightRule(Said("arq_retrain"), Said(True), dst_type=Said("INT8"))
    prune = rule.common.prune
    assert prune is not None and prune.prune_type == Said("filter_prune")
    assert (prune.prune_ratio, prune.ascend_optimized) == (Said(0.25), Said(False))
    assert (rule.skip_layers, rule.skip_layer_types) == ((Said("conv1"),), (Said("Linear"),))
    assert (rule.quant_skip_layers, rule.quant_skip_types) == ((Said("conv2"),), (Said("Conv3d"),))
    assert rule.regular_prune_skip_layers == (Said("conv4"),)
    assert rule.regular_prune_skip_types == (Said("ConvTranspose2d"),)
    (by_type,) = rule.override_layer_types
    assert by_type.config.prune is not None
    assert (by_type.config.prune.prune_type, by_type.config.prune.update_freq) == (Said("selective_prune"), Said(5))
    assert by_type.config.data is None
    (by_name,) = rule.override_layer_configs
    assert by_name.config.weights is not None
    assert (by_name.config.weights.algorithm, by_name.config.weights.dst_type) == (Said("ulq_retrain"), Said("INT4"))


def test_everything_of_the_caffe_flavour_is_read() -> None:
    policy = cfg(CAFFE)
    assert policy.flavour.name == "caffe-qat"
    rule = training(policy)
    assert rule.common.data == TrainingDataRule(Said("ulq_quantize"), Said(3.0), Said(-3.0), num_bits=Said(12))
    assert rule.common.weights == TrainingWeightRule(Said("arq_retrain"), Said(True), Said(8))
    (override,) = rule.override_layer_types
    assert override.name == Said("InnerProduct")
    assert override.config.weights == TrainingWeightRule(Said("arq_retrain"), Said(False))


def test_a_layer_config_of_the_pytorch_flavour_is_read() -> None:
    policy = layer_config("""\
{"version":1, "batch_num":2,
 "conv1":{
    "retrain_enable":true,
    "retrain_data_config":{"algo":"ulq_quantize","clip_max":3.0,"clip_min":-3.0,"fixed_min":false,"dst_type":"INT8"},
    "retrain_weight_config":{"algo":"ulq_retrain","channel_wise":true,"dst_type":"INT4"},
    "regular_prune_enable":true,
    "regular_prune_config":{"prune_type":"selective_prune","algo":"l1_selective_prune","n_out_of_m_type":"M4N2",
                            "update_freq":0}},
 "conv2":{"regular_prune_enable":true,
    "regular_prune_config":{"prune_type":"filter_prune","algo":"balanced_l2_norm_filter_prune","prune_ratio":0.5}}}
""")
    assert policy.flavour.name == "pytorch-qat"
    layers = training(policy).layers
    assert layers is not None
    first, second = layers
    assert first.retrain_enable == Said(True) and first.regular_prune_enable == Said(True)
    assert first.config.data == TrainingDataRule(
        Said("ulq_quantize"), Said(3.0), Said(-3.0), Said(False), dst_type=Said("INT8")
    )
    assert first.config.prune is not None and first.config.prune.update_freq == Said(0)
    assert second.config.prune is not None and second.config.prune.prune_ratio == Said(0.5)


def ulq(body: str) -> str:
    return f"retrain_data_quant_config {{ ulq_quantize {{ {body} }} }}"


def filters(body: str) -> str:
    return f"prune_config {{ filter_pruner {{ balanced_l2_norm_filter_prune {{ {body} }} }} }}"


@pytest.mark.parametrize(
    ("flavour", "text", "code", "column"),
    [
        ("caffe-qat", "batch_num: 0", "AM210", 12),
        ("caffe-qat", ulq("num_bits: 7"), "AM210", 54),
        ("caffe-qat", ulq("num_bits: 17"), "AM210", 54),
        ("caffe-qat", ulq("dst_type: INT8"), "AM200", 44),
        ("caffe-qat", ulq("clip_max_min { clip_max: 1 }"), "AM204", 57),
        ("caffe-qat", ulq("clip_max_min { clip_max: 0 clip_min: -1 }"), "AM210", 69),
        ("caffe-qat", ulq("clip_max_min { clip_max: 1 clip_min: 0 }"), "AM210", 81),
        ("caffe-qat", "retrain_weight_quant_config { arq_retrain { num_bits: 4 } }", "AM210", 55),
        ("caffe-qat", "override_layer_types { layer_type: 'InnerProduct' retrain_weight_quant_config { arq_retrain "
         "{ channel_wise: true } } }", "AM227", 109),
        ("caffe-qat", "override_layer_configs { }", "AM204", 24),
        ("pytorch-qat", ulq("dst_type: INT32"), "AM203", 54),
        ("pytorch-qat", ulq("dst_type: INT4"), "AM242", 54),
        ("pytorch-qat", "retrain_data_quant_config { ulq_quantize { dst_type: INT16 } } "
         "retrain_weight_quant_config { arq_retrain { dst_type: INT4 } }", "AM242", 118),
        ("pytorch-qat", filters(""), "AM204", 62),
        ("pytorch-qat", filters("prune_ratio: 0"), "AM210", 77),
        ("pytorch-qat", filters("prune_ratio: 1"), "AM210", 77),
        ("pytorch-qat", "prune_config { filter_pruner { } }", "AM204", 16),
        ("pytorch-qat", "prune_config { n_out_of_m_pruner { } }", "AM204", 16),
        ("pytorch-qat", "prune_config { n_out_of_m_pruner { l1_selective_prune { n_out_of_m_type: M8N2 } } }",
         "AM203", 74),
        ("pytorch-qat", "fakequant_precision_mode: ON", "AM203", 27),
    ],
)  # fmt: skip
def test_a_wrong_value_of_a_cfg_is_told_at_its_place(flavour: str, text: str, code: str, column: int) -> None:
    assert places(refusal(text, "quant.cfg", flavour)) == [(code, 1, column)]


def data(body: str) -> str:
    return '{"c":{"retrain_data_config":{' + body + "}}}"


def weights(body: str) -> str:
    return '{"c":{"retrain_weight_config":{' + body + "}}}"


def prune(body: str) -> str:
    return '{"c":{"regular_prune_config":{' + body + "}}}"


@pytest.mark.parametrize(
    ("flavour", "text", "code", "column"),
    [
        ("caffe-qat", '{"version":2}', "AM210", 12),
        ("caffe-qat", '{"c":{"retrain_enable":1}}', "AM201", 24),
        ("caffe-qat", data('"algo":"ifmr"'), "AM203", 37),
        ("caffe-qat", data('"num_bits":7'), "AM210", 41),
        ("caffe-qat", data('"clip_max":-1.0,"clip_min":-2.0'), "AM210", 41),
        ("caffe-qat", data('"clip_max":1.0,"clip_min":2.0'), "AM210", 56),
        ("caffe-qat", data('"clip_max":1.0'), "AM204", 30),
        ("caffe-qat", data('"clip_min":-1.0'), "AM204", 30),
        ("caffe-qat", data('"fixed_min":0'), "AM201", 42),
        ("caffe-qat", weights('"num_bits":4'), "AM210", 43),
        ("caffe-qat", weights('"algo":"ulq_retrain"'), "AM203", 39),
        ("caffe-qat", weights('"dst_type":"INT8"'), "AM200", 32),
        ("pytorch-qat", data('"dst_type":"INT2"'), "AM203", 41),
        ("pytorch-qat", data('"dst_type":"INT4"'), "AM242", 41),
        ("pytorch-qat", prune('"prune_type":"filter_prune"'), "AM204", 30),
        ("pytorch-qat", prune('"prune_ratio":1.5'), "AM210", 45),
        ("pytorch-qat", prune('"prune_type":"selective_prune","prune_ratio":0.5'), "AM200", 62),
        ("pytorch-qat", prune('"prune_type":"all","prune_ratio":0.5'), "AM203", 44),
        ("pytorch-qat", prune('"prune_ratio":0.5,"update_freq":1'), "AM200", 49),
    ],
)
def test_a_wrong_value_of_a_layer_config_is_told_at_its_place(flavour: str, text: str, code: str, column: int) -> None:
    assert places(refusal(text, "config.json", flavour)) == [(code, 1, column)]


def test_a_layer_that_is_skipped_twice_is_a_warning_and_one_overridden_twice_a_mistake() -> None:
    policy = cfg("retrain_data_quant_config { }\nskip_layers: 'a'\nskip_layers: 'a'\n")
    assert places(policy.warnings) == [("AM211", 3, 14)]
    assert policy.warnings[0].level is Level.WARNING
    twice = "override_layer_configs { layer_name: 'a' retrain_data_quant_config { } }\n" * 2
    assert places(refusal(twice, "quant.cfg", "caffe-qat")) == [("AM211", 2, 38)]


def test_two_pruners_are_warned_of_and_the_last_holds() -> None:
    policy = cfg("""\
prune_config {
  filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 0.5 } }
  n_out_of_m_pruner { l1_selective_prune { } }
}
""")
    assert places(policy.warnings) == [("AM230", 3, 3)]
    common = training(policy).common
    assert common.prune is not None and common.prune.prune_type == Said("selective_prune")
