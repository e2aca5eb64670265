"""The six policy languages: which of them a file is, what each has, and what each says of the others' fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.policy import Policy, Said, not_yet_available, resolve
from amctc.policy.flavours import FLAVOURS, recognise
from amctc.source import SourceFile
from amctc.text.json_source import parse_json
from amctc.text.prototext import parse_prototext
from tests.policy.texts import cfg, layer_config, places, refusal, small_graph

FULL_PYTORCH = """\
batch_num: 2
activation_offset: false
skip_layers: "conv3"
skip_layer_types: "AvgPool2d"
fakequant_precision_mode: FORCE_FP16_QUANT
common_config: {
    ada_quantize: {
        num_iteration: 500
        reg_param: 0.02
        beta_range_start: 18
        beta_range_end: 3
        warm_start: 0.1
        channel_wise: true
    }
    hfmg_quantize: { num_of_bins: 2048 asymmetric: true dst_type: INT16 }
    dmq_balancer: { migration_strength: 0.4 }
}
override_layer_types: {
    layer_type: "Conv2d"
    calibration_config: { arq_quantize: { channel_wise: true quant_bits: 6 } ifmr_quantize: { dst_type: INT8 } }
}
do_fusion: false
skip_fusion_layers: "conv1"
"""

FULL_GE = """\
activation_offset: true
joint_quant: true
enable_auto_nuq: false
version: 1
common_config: {
    weight_compress_only: true
    arq_quantize: { channel_wise: true asymmetric: true quant_bits: 7 }
}
tensor_quantize { layer_name: "pool1" input_index: 0 ifmr_quantize: { search_step: 0.02 asymmetric: false } }
tensor_quantize { layer_name: "pool1" input_index: 1 }
"""


# Which flavour a file is.


@pytest.mark.parametrize(
    ("text", "flavour"),
    [
        ("", "caffe"),
        ("batch_num: 1 common_config { arq_quantize { channel_wise: true } }", "caffe"),
        ("common_config { snq_quantize { } }", "caffe"),
        ("common_config { arq_quantize { quant_bits: 8 } }", "pytorch"),
        ("common_config { ifmr_quantize { asymmetric: true } }", "pytorch"),
        ("joint_quant: false", "ge"),
        ("version: 1 common_config { ifmr_quantize { asymmetric: true } }", "ge"),
        ("retrain_data_quant_config { ulq_quantize { } }", "caffe-qat"),
        ("retrain_data_quant_config { ulq_quantize { num_bits: 12 } }", "caffe-qat"),
        ("retrain_data_quant_config { ulq_quantize { dst_type: INT8 } }", "pytorch-qat"),
        ("prune_config { }", "pytorch-qat"),
        ("kv_cache_quant_config { quant_layers: 'q' }", "kv-cache"),
        # Most fields decide where none has all.
        ("joint_quant: true version: 1 hfmg_quantize { } update_bn: true", "ge"),
        ("common_config { hfmg_quantize { } } update_bn: true batch_num: 1", "caffe"),
    ],
)
def test_a_cfg_is_of_the_flavour_that_knows_its_fields(text: str, flavour: str) -> None:
    assert recognise(parse_prototext(SourceFile("quant.cfg", text))).name == flavour


@pytest.mark.parametrize(
    ("text", "flavour"),
    [
        ("{}", "caffe"),
        ("[1]", "caffe"),
        ('{"conv1":{"quant_enable":true}}', "caffe"),
        ('{"$schema":"x.json","conv1":{"quant_enable":true}}', "caffe"),
        ('{"conv1":{"activation_quant_params":{"act_algo":"hfmg"}}}', "pytorch"),
        ('{"conv1":{"activation_quant_params":[{"asymmetric":true}]}}', "pytorch"),
        ('{"fakequant_precision_mode":"DEFAULT","conv1":{"quant_enable":true}}', "pytorch"),
        ('{"tensor_quantize":[]}', "ge"),
        ('{"conv1":{"retrain_enable":true}}', "caffe-qat"),
        ('{"conv1":{"retrain_data_config":{"dst_type":"INT8"}}}', "pytorch-qat"),
        ('{"fc":{"kv_data_quant_config":{}}}', "kv-cache"),
    ],
)
def test_a_json_config_is_of_the_flavour_that_knows_its_keys(text: str, flavour: str) -> None:
    assert recognise(parse_json(SourceFile("config.json", text))).name == flavour


def test_a_flavour_can_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "quant.cfg"
    path.write_text("batch_num: 3\n", encoding="utf-8")
    assert Policy.from_file(path).flavour.name == "caffe"
    assert Policy.from_file(path, "pytorch").flavour.name == "pytorch"
    policy = Policy.from_file(path, flavour="pytorch-qat")
    assert policy.training is not None and policy.batch_num == Said(3)


def test_a_stated_flavour_that_is_not_there_names_those_that_are() -> None:
    (found,) = refusal("", flavour="pytorhc")
    assert (found.code, found.help) == ("AM231", "did you mean `pytorch`?")
    (found,) = refusal("{}", "config.json", flavour="tensorflow")
    assert found.code == "AM231"
    assert found.help is not None and "`kv-cache`" in found.help


# Fields of other flavours.


def test_a_field_of_one_other_flavour_says_which_has_it() -> None:
    (found,) = refusal("batch_num: 1\nupdate_bn: true\njoint_quant: false\n")
    assert places((found,)) == [("AM200", 3, 1)]
    assert found.message == "`AMCTConfig` has no field `joint_quant`"
    owner = "the flavour `ge` (post-training quantization of GE graphs)"
    assert found.help == f"`joint_quant` belongs to {owner}; this file is read as `caffe`"


def test_a_field_of_several_flavours_names_them_all() -> None:
    (found,) = refusal("update_bn: true common_config { ifmr_quantize { asymmetric: true } }")
    assert (
        found.help
        == "`asymmetric` belongs to the flavours `pytorch`, `ge` and `kv-cache`; this file is read as `caffe`"
    )


def test_a_message_of_another_flavour_is_known_wherever_it_stands() -> None:
    (found,) = refusal("common_config { ulq_quantize { } }")
    assert found.help is not None
    assert "flavours `caffe-qat` and `pytorch-qat`" in found.help


def test_a_misspelt_field_is_not_taken_for_one_of_another_flavour() -> None:
    (found,) = refusal("common_config { ifmr_quantize { search_stepp: 0.1 } }")
    assert found.help == "did you mean `search_step`?"


def test_a_key_of_another_flavour_says_which_has_it() -> None:
    text = '{"update_bn":true,\n"conv1":{"quant_enable":true,\n"activation_quant_params":{"act_algo":"ifmr"}}}'
    (found,) = refusal(text, "config.json")
    assert places((found,)) == [("AM200", 3, 28)]
    assert found.help is not None
    assert found.help.startswith("`act_algo` belongs to the flavours `pytorch` and `ge`")


def test_a_parameter_of_another_flavour_says_which_has_it() -> None:
    (found,) = refusal('{"update_bn":true,\n"weight_offset":true}', "config.json")
    assert places((found,)) == [("AM228", 2, 1)]
    assert found.help is not None and "flavour `pytorch`" in found.help


# Each flavour's own fields.


def test_everything_of_the_pytorch_flavour_is_read() -> None:
    policy = cfg(FULL_PYTORCH)
    assert policy.flavour == FLAVOURS["pytorch"]
    assert policy.fakequant_precision_mode == Said("FORCE_FP16_QUANT")
    common = policy.common_config
    assert common is not None and common.weights is not None and common.ifmr is not None
    weights, data = common.weights, common.ifmr
    assert weights.algorithm == Said("ada_quantize")
    assert (weights.num_iteration, weights.reg_param, weights.warm_start) == (Said(500), Said(0.02), Said(0.1))
    assert (weights.beta_range_start, weights.beta_range_end) == (Said(18.0), Said(3.0))
    assert (data.algorithm, data.num_of_bins, data.dst_type) == (Said("hfmg"), Said(2048), Said("INT16"))
    assert (data.num_bits, data.asymmetric, data.with_offset) == (Said(16), Said(True), Said(True))
    assert common.balancer is not None and common.balancer.migration_strength == Said(0.4)
    (override,) = policy.override_layer_types
    assert override.config.weights is not None and override.config.weights.num_bits == Said(6)


def test_everything_of_the_ge_flavour_is_read() -> None:
    policy = cfg(FULL_GE)
    assert policy.flavour == FLAVOURS["ge"]
    assert (policy.joint_quant, policy.enable_auto_nuq, policy.version) == (Said(True), Said(False), Said(1))
    common = policy.common_config
    assert common is not None and common.weights is not None
    assert common.weight_compress_only == Said(True)
    assert common.weights.asymmetric == Said(True)
    first, second = policy.tensor_quantize
    assert (first.layer_name, first.input_index, first.data.search_step) == (Said("pool1"), Said(0), Said(0.02))
    assert (second.input_index, second.data.search_step) == (Said(1), None)


def test_whether_data_have_an_offset_comes_from_the_common_config_for_the_same_algorithm() -> None:
    policy = cfg("""\
common_config { ifmr_quantize { asymmetric: false } }
override_layer_configs { layer_name: "conv1" calibration_config { ifmr_quantize { search_step: 0.02 } } }
override_layer_configs { layer_name: "conv2" calibration_config { hfmg_quantize { } } }
override_layer_configs { layer_name: "fc" calibration_config { ifmr_quantize { asymmetric: true } } }
""")
    offsets = [o.config.ifmr.with_offset for o in policy.override_layer_configs if o.config.ifmr is not None]
    assert offsets == [Said(False), None, Said(True)]


def test_a_pytorch_policy_that_asks_for_what_is_built_holds_for_a_caffe_model() -> None:
    text = "common_config { ifmr_quantize { asymmetric: false dst_type: INT16 } arq_quantize { quant_bits: 8 } }"
    resolved = resolve(cfg(text), small_graph())
    (entry,) = resolved.layers["conv1"].inputs
    assert (entry.num_bits.value, entry.with_offset.value) == (16, False)
    assert not_yet_available(resolved) == []


PYTORCH_JSON = """\
{
    "version":1,
    "batch_num":2,
    "activation_offset":false,
    "do_fusion":true,
    "fakequant_precision_mode":"FORCE_FP16_QUANT",
    "skip_fusion_layers":[],
    "conv1":{
        "quant_enable":true,
        "dmq_balancer_param":0.5,
        "activation_quant_params":{"num_bits":8,"act_algo":"hfmg","asymmetric":true,"num_of_bins":4096},
        "weight_quant_params":{
            "num_bits":8,"reg_param":0.01,"warm_start":0.2,"num_iteration":10000,"beta_range":[20,2],
            "channel_wise":true,"wts_algo":"ada_quantize"
        }
    }
}
"""


def test_a_pytorch_layer_config_is_read() -> None:
    policy = layer_config(PYTORCH_JSON)
    assert policy.flavour.name == "pytorch"
    assert policy.layers is not None
    (layer,) = policy.layers
    assert layer.balancer is not None and layer.balancer.migration_strength == Said(0.5)
    assert layer.inputs[0].algorithm == Said("hfmg")
    assert layer.inputs[0].with_offset == Said(True)
    assert layer.weights is not None and layer.weights.beta_range_end == Said(2.0)


def test_a_ge_layer_config_is_read() -> None:
    policy = layer_config("""\
{"joint_quant":true, "enable_auto_nuq":false,
 "tensor_quantize":[{"layer_name":"p","input_index":0,"activation_quant_params":{"search_step":0.02}}],
 "c":{"weight_compress_only":true,"weight_quant_params":{"asymmetric":true,"num_bits":6}}}
""")
    assert policy.flavour.name == "ge"
    assert policy.joint_quant == Said(True)
    (tensor,) = policy.tensor_quantize
    assert tensor.data.search_step == Said(0.02)
    assert policy.layers is not None and policy.layers[0].weight_compress_only == Said(True)
