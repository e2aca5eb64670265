"""Policies of KV-cache quantization: what they say in both forms, and every mistake at its place."""

from __future__ import annotations

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.policy import Policy, Said
from amctc.policy.rules import DataRule
from amctc.policy.rules_kv import KvCacheRule
from amctc.source import SourceFile
from tests.policy.texts import cfg, layer_config, places

FULL = """\
batch_num: 2
activation_offset: false
kv_cache_quant_config: {
    quant_layers: "layers.0.k_proj"
    quant_layers: "layers.0.v_proj"
    calibration_config: {
        ifmr_quantize: { search_step: 0.02 asymmetric: true quant_granularity: per_channel }
    }
}
override_layers_configs: {
    layer_name: "layers.0.v_proj"
    kv_data_quant_config: { hfmg_quantize: { num_of_bins: 8192 quant_granularity: per_tensor } }
}
"""


def kv_cache(policy: Policy) -> KvCacheRule:
    assert policy.kv_cache is not None
    return policy.kv_cache


def refusal(text: str, name: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile(name, text), "kv-cache")
    return caught.value.diagnostics


def test_everything_is_read() -> None:
    policy = cfg(FULL)
    assert policy.flavour.name == "kv-cache"
    assert (policy.batch_num, policy.activation_offset) == (Said(2), Said(False))
    rule = kv_cache(policy)
    assert rule.quant_layers == (Said("layers.0.k_proj"), Said("layers.0.v_proj"))
    assert rule.common == DataRule(
        search_step=Said(0.02),
        with_offset=Said(True),
        algorithm=Said("ifmr"),
        asymmetric=Said(True),
        quant_granularity=Said("per_channel"),
    )
    (override,) = rule.overrides
    assert override.name == Said("layers.0.v_proj")
    assert (override.data.algorithm, override.data.num_of_bins) == (Said("hfmg"), Said(8192))


def test_whether_data_have_an_offset_comes_from_the_common_config() -> None:
    (override,) = kv_cache(cfg(FULL)).overrides
    assert override.data.asymmetric is None
    assert override.data.with_offset == Said(True)


def test_a_layer_config_is_read() -> None:
    policy = layer_config("""\
{"batch_num":1, "activation_offset":true,
 "k":{"kv_data_quant_config":{"act_algo":"ifmr","max_percentile":0.99,"min_percentile":0.98,
      "search_range":[0.7,1.3],"search_step":0.01,"asymmetric":false,"quant_granularity":1}},
 "v":{"kv_data_quant_config":{"act_algo":"hfmg","num_of_bins":4096,"quant_granularity":0}}}
""")
    assert policy.flavour.name == "kv-cache"
    layers = kv_cache(policy).layers
    assert layers is not None
    key, value = layers
    assert (key.data.max_percentile, key.data.quant_granularity) == (Said(0.99), Said("per_channel"))
    assert key.data.with_offset == Said(False)
    assert (value.data.num_of_bins, value.data.quant_granularity) == (Said(4096), Said("per_tensor"))


def common(body: str) -> str:
    return f"kv_cache_quant_config {{ quant_layers: 'a' calibration_config {{ {body} }} }}"


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("batch_num: 0 kv_cache_quant_config { quant_layers: 'a' }", "AM210", 12),
        ("kv_cache_quant_config { }", "AM243", 1),
        ("kv_cache_quant_config { quant_layers: 'a' quant_layers: 'a' }", "AM211", 57),
        (common("ifmr_quantize { max_percentile: 0.5 }"), "AM210", 96),
        (common("ifmr_quantize { search_range_start: 2 }"), "AM212", 100),
        (common("ifmr_quantize { dst_type: INT8 }"), "AM200", 80),
        (common("ifmr_quantize { quant_granularity: per_group }"), "AM203", 99),
        (common("hfmg_quantize { num_of_bins: 512 }"), "AM210", 93),
        ("override_layers_configs { kv_data_quant_config { ifmr_quantize { } } }", "AM204", 25),
        ("override_layers_configs { layer_name: 'a' } override_layers_configs { layer_name: 'a' }", "AM211", 83),
        ("skip_layers: 'a' kv_cache_quant_config { quant_layers: 'a' }", "AM200", 1),
    ],
)
def test_a_wrong_value_of_a_cfg_is_told_at_its_place(text: str, code: str, column: int) -> None:
    assert places(refusal(text, "quant.cfg")) == [(code, 1, column)]


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ('{"a":{}}', "AM204", 6),
        ('{"a":{"kv_data_quant_config":{"act_algo":"kl"}}}', "AM203", 42),
        ('{"a":{"kv_data_quant_config":{"act_algo":"hfmg","search_step":0.1}}}', "AM200", 49),
        ('{"a":{"kv_data_quant_config":{"quant_granularity":2}}}', "AM210", 51),
        ('{"a":{"kv_data_quant_config":{"quant_granularity":"per_tensor"}}}', "AM201", 51),
        ('{"a":{"kv_data_quant_config":{"search_range":[1.3,0.7]}}}', "AM212", 51),
        ('{"a":{"kv_data_quant_config":{"num_bits":8}}}', "AM200", 31),
        ('{"a":{"kv_data_quant_config":{},"quant_enable":true}}', "AM200", 33),
        ('{"version":1,"a":{"kv_data_quant_config":{}}}', "AM228", 2),
    ],
)
def test_a_wrong_value_of_a_layer_config_is_told_at_its_place(text: str, code: str, column: int) -> None:
    assert places(refusal(text, "config.json")) == [(code, 1, column)]


def test_a_layer_config_without_layers_is_a_mistake() -> None:
    (found,) = refusal('{"batch_num":1}', "config.json")
    assert (found.code, found.file) == ("AM243", "config.json")
