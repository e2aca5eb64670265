"""The six policy languages: which of them a file is, what each has, and what each says of the others' fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from amctc.diagnostics import Diagnostic, DiagnosticError, Level
from amctc.policy import Policy, Said, not_yet_available, resolve, to_json
from amctc.policy.flavours import FLAVOURS, Flavour, recognise
from amctc.policy.json_schema import layer_config_schema
from amctc.policy.limits import FLAVOUR_LIMITS
from amctc.source import SourceFile
from amctc.text.json_source import parse_json
from amctc.text.prototext import parse_prototext
from tests.policy.texts import cfg, layer_config, places, small_graph

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


def refusal(text: str, name: str = "quant.cfg", flavour: str | None = None) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile(name, text), flavour)
    return caught.value.diagnostics


def in_json(text: str, flavour: str | None = None) -> list[tuple[str, int, int]]:
    return places(refusal(text, "config.json", flavour))


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
        ("override_layer_types { layer_type: 'Linear' calibration_config { arq_quantize { channel_wise: true "
         "quant_bits: 8 } } }", "AM227", 95),
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


# What is not built.


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("common_config { hfmg_quantize { } }", "`hfmg_quantize`", "1:17"),
        ("common_config { ada_quantize { } }", "`ada_quantize`", "1:17"),
        ("common_config { dmq_balancer { } }", "`dmq_balancer`", "1:17"),
        ("common_config { arq_quantize { quant_bits: 6 } }", "weights of 6 bits", "1:44"),
        ("fakequant_precision_mode: FORCE_FP16_QUANT", "`fakequant_precision_mode`", "1:27"),
        ("joint_quant: true", "`joint_quant`", "1:14"),
        ("enable_auto_nuq: true", "`enable_auto_nuq`", "1:18"),
        ("tensor_quantize { layer_name: 'sum' input_index: 0 }", "`tensor_quantize`", "1:31"),
        ("common_config { weight_compress_only: true }", "`weight_compress_only`", "1:39"),
    ],
)
def test_what_is_accepted_and_not_built_is_refused_when_compiling(text: str, words: str, place: str) -> None:
    found = not_yet_available(resolve(cfg(text), small_graph()))
    assert [d.code for d in found] == ["AM290"]
    assert found[0].message.startswith(f"{words} ")
    assert str(found[0].span) == f"quant.cfg:{place}"


def test_data_of_4_bits_in_a_layer_config_are_refused_when_compiling() -> None:
    policy = layer_config('{"conv1":{"quant_enable":true,"activation_quant_params":{"num_bits":4,"act_algo":"ifmr"}}}')
    (found,) = not_yet_available(resolve(policy, small_graph()))
    assert found.message.startswith("data of 4 bits are accepted")


def test_what_is_switched_off_is_not_refused() -> None:
    text = "joint_quant: false enable_auto_nuq: false common_config { weight_compress_only: false }"
    assert not_yet_available(resolve(cfg(text), small_graph())) == []


@pytest.mark.parametrize(
    "text", ["retrain_data_quant_config { ulq_quantize { } }", "kv_cache_quant_config { quant_layers: 'fc' }"]
)
def test_training_and_kv_cache_policies_are_refused_when_compiling(text: str) -> None:
    policy = cfg(text)
    (found,) = not_yet_available(resolve(policy, small_graph()))
    assert (found.code, found.file) == ("AM290", "quant.cfg")
    assert policy.flavour.title in found.message
    with pytest.raises(DiagnosticError, match="AM290"):
        to_json(resolve(policy, small_graph()))


# The schemas.


def _objects(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return [found for item in schema for found in _objects(item)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(found for item in schema.values() for found in _objects(item))]


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=list(FLAVOURS))
def test_a_json_schema_tells_an_editor_what_everything_is(flavour: Flavour) -> None:
    schema = json.loads(json.dumps(dict(layer_config_schema(flavour.json_schema))))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema["title"] and schema["description"]
    for definition in schema["$defs"].values():
        assert definition["title"] if "title" in definition else definition["description"]
    for holder in _objects(schema):
        for name, field in holder.get("properties", {}).items() if "if" not in holder and "const" not in holder else ():
            if isinstance(field, dict) and field.keys() != {"const"}:
                assert "description" in field or "$ref" in field or name in ("name", "option"), name


FIELD_PLACES = {
    "ifmr_quantize": ("activation",),
    "hfmg_quantize": ("activation",),
    "arq_quantize": ("weight",),
    "snq_quantize": ("weight",),
    "ada_quantize": ("weight",),
    "ulq_quantize": ("data",),
    "arq_retrain": ("weight",),
    "balanced_l2_norm_filter_prune": ("prune",),
}
OTHER_NAMES = {"quant_bits": "num_bits"}


def _field(schema: Any, message: str, name: str) -> Any:
    """The JSON field for a field of a .cfg message."""
    if message == "dmq_balancer":
        return schema["$defs"]["layer"]["properties"]["dmq_balancer_param"]
    if message == "bn_update_config":
        return schema["$defs"]["bn_update"]["properties"][name]
    holder = schema if not message else schema["$defs"][FIELD_PLACES[message][0]]
    branches = [holder, holder.get("then", {}), holder.get("else", {})]
    if message == "snq_quantize":
        branches = [holder["then"]]
    elif message == "arq_quantize":
        branches = [holder.get("else", holder)]
    wanted = OTHER_NAMES.get(name, name)
    if wanted.startswith(("search_range_", "beta_range_")):
        wanted = wanted.rpartition("_")[0]
    (found,) = {json.dumps(b["properties"][wanted]) for b in branches if wanted in b.get("properties", {})}
    field = json.loads(found)
    return field["items"] if field["type"] == "array" else field


@pytest.mark.parametrize(("flavour", "key"), [(name, key) for name, limits in FLAVOUR_LIMITS.items() for key in limits])
def test_the_two_forms_of_a_flavour_have_the_same_ranges(flavour: str, key: str) -> None:
    message, _, name = key.rpartition(".")
    field = _field(layer_config_schema(FLAVOURS[flavour].json_schema), message, name)
    limits = FLAVOUR_LIMITS[flavour][key]
    if limits.choices:
        assert tuple(field["enum"]) == limits.choices
        return
    low = field.get("const", field.get("minimum", field.get("exclusiveMinimum", float("-inf"))))
    assert low == float(limits.low)
    assert limits.above is ("exclusiveMinimum" in field)
    if limits.high is not None:
        assert field.get("const", field.get("maximum", field.get("exclusiveMaximum"))) == float(limits.high)
        assert limits.below is ("exclusiveMaximum" in field)
