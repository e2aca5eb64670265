"""Reading JSON layer configs: what they say, and every mistake at its place."""

from __future__ import annotations

import pytest

from amctc.policy import Policy, Said
from amctc.policy.json_schema import layer_config_schema
from amctc.policy.limits import LIMITS
from amctc.policy.read import is_json
from amctc.policy.rules import DataRule
from amctc.source import SourceFile
from tests.policy.texts import SNQ_JSON, UNIFORM_JSON, layer_config, mistakes_of, only_mistake


def in_json(text: str) -> list[tuple[str, int, int]]:
    return mistakes_of(text, "config.json")


def activation(body: str) -> str:
    return '{\n"c":{"activation_quant_params":{' + body + "}}}"


def weights(body: str) -> str:
    return '{\n"c":{"weight_quant_params":{' + body + "}}}"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("policy.cfg", '{"version":1}', True),
        ("policy.txt", '\n  {"version":1}', True),
        ("policy.json", "batch_num: 1", False),
        ("policy.json", "# a { comment\nbatch_num: 1", False),
        ("policy.json", "", True),
        ("policy.json", "[1]", True),
        ("policy.cfg", "", False),
        ("policy.cfg", "# only { this }", False),
    ],
)
def test_the_language_is_known_by_the_content(name: str, text: str, expected: bool) -> None:
    assert is_json(SourceFile(name, text)) is expected


def test_the_uniform_sample_of_the_manual_is_read() -> None:
    policy = layer_config(UNIFORM_JSON)
    assert policy.batch_num == Said(2)
    assert policy.layers is not None
    assert [layer.name.value for layer in policy.layers] == ["conv1", "conv2"]
    second = policy.layers[1]
    assert second.quant_enable == Said(True) and second.shared
    assert second.weights is not None and second.weights.channel_wise == Said(False)
    assert second.inputs[0].search_range_end == Said(1.3)


def test_the_non_uniform_sample_of_the_manual_is_read() -> None:
    policy = layer_config(SNQ_JSON)
    assert policy.update_bn == Said(True)
    assert policy.layers is not None
    (layer,) = policy.layers
    assert not layer.shared and len(layer.inputs) == 1
    assert layer.weights is not None
    assert layer.weights.min_distance == Said(1e-10)
    assert layer.weights.init_algo == Said("gaussian")


def test_the_doubled_brace_of_the_manual_is_a_mistake() -> None:
    assert in_json("{\n" + SNQ_JSON) == [("AM101", 2, 1)]


def test_a_file_without_layers_is_not_one_that_says_nothing() -> None:
    assert layer_config("{}") == Policy(layers=())


def test_a_whole_number_may_have_a_point() -> None:
    assert layer_config('{"batch_num":4.0}').batch_num == Said(4)


def test_several_inputs_are_a_list() -> None:
    text = '{"sum":{"activation_quant_params":[{"num_bits":8},{"num_bits":12,"with_offset":false}]}}'
    policy = layer_config(text)
    assert policy.layers is not None
    assert policy.layers[0].inputs == (
        DataRule(num_bits=Said(8)),
        DataRule(num_bits=Said(12), with_offset=Said(False)),
    )


def test_passes_can_be_named() -> None:
    (entry,) = layer_config('{"pass":[{"name":"a","option":{"k":"v"}}]}').passes
    assert entry.name == Said("a")
    assert entry.options == ((Said("k"), Said("v")),)


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("[1]", "AM201", 1, 1),
        ('{\n"version":2}', "AM210", 2, 11),
        ('{\n"version":true}', "AM201", 2, 11),
        ('{\n"batch_num":true}', "AM201", 2, 13),
        ('{\n"batch_num":"1"}', "AM201", 2, 13),
        ('{\n"batch_num":0}', "AM210", 2, 13),
        ('{\n"batch_num":1e300}', "AM210", 2, 13),
        ('{\n"activation_offset":1}', "AM201", 2, 21),
        ('{\n"joint_quant":true}', "AM216", 2, 15),
        ('{\n"joint_quant":0}', "AM201", 2, 15),
        ('{\n"do_fusion":null}', "AM201", 2, 13),
        ('{\n"skip_fusion_layers":"a"}', "AM201", 2, 22),
        ('{\n"skip_fusion_layers":["a",1]}', "AM201", 2, 27),
        ('{\n"skip_fusion_layers":["a","b","a"]}', "AM211", 2, 31),
        ('{\n"update_bn":1}', "AM201", 2, 13),
        ('{\n"bn_update_config":{"iterations":1}}', "AM200", 2, 21),
        ('{\n"bn_update_config":{"bn_update_iterations":1000}}', "AM210", 2, 44),
        ('{\n"bn_update_config":{"bn_moving_average_fraction":1.0}}', "AM210", 2, 50),
        ('{\n"pass":[{"option":{}}]}', "AM204", 2, 9),
        ('{\n"pass":[{"name":"a","option":{"k":1}}]}', "AM201", 2, 35),
        ('{\n"batchnum":1}', "AM228", 2, 1),
        ('{\n"c":{"quant":true}}', "AM200", 2, 6),
        ('{\n"c":{"quant_enable":1}}', "AM201", 2, 21),
        ('{\n"c":{"quant_enable":true},"c":{}}', "AM130", 2, 27),
        ('{\n"c":{"quant_enable":true,"quant_enable":true}}', "AM130", 2, 26),
        ('{\n"c":{"activation_quant_params":8}}', "AM201", 2, 32),
        ('{\n"c":{"activation_quant_params":[{"num_bits":7}]}}', "AM210", 2, 45),
        (activation('"num_bits":true'), "AM201", 2, 44),
        (activation('"num_bits":8.5'), "AM201", 2, 44),
        (activation('"num_bits":17'), "AM210", 2, 44),
        (activation('"algorithm":"ifmr"'), "AM200", 2, 33),
        (activation('"with_offset":0'), "AM201", 2, 47),
        (activation('"max_percentile":0.5'), "AM210", 2, 50),
        (activation('"min_percentile":1.01'), "AM210", 2, 50),
        (activation('"search_range":[0.7]'), "AM215", 2, 48),
        (activation('"search_range":[0.7,1.0,1.3]'), "AM215", 2, 48),
        (activation('"search_range":[0,1.3]'), "AM210", 2, 49),
        (activation('"search_range":[1.3,0.7]'), "AM212", 2, 53),
        (activation('"search_range":[0.7,"1.3"]'), "AM201", 2, 53),
        (activation('"search_range":[0.7,1' + "0" * 398 + "]"), "AM214", 2, 53),
        (activation('"search_step":0'), "AM210", 2, 47),
        (activation('"search_step":0.61'), "AM213", 2, 47),
        (activation('"search_step":0.600000000000000001'), "AM213", 2, 47),
        (activation('"search_step":1e-6'), "AM214", 2, 47),
        (weights('"wts_algo":"arq"'), "AM203", 2, 40),
        (weights('"wts_algo":8'), "AM201", 2, 40),
        (weights('"wts_algo":"arq_quantize","num_bits":4'), "AM210", 2, 66),
        (weights('"wts_algo":"snq_quantize","num_bits":8'), "AM210", 2, 66),
        (weights('"wts_algo":"arq_quantize","max_iteration":1000'), "AM200", 2, 55),
        (weights('"wts_algo":"snq_quantize","max_iteration":499'), "AM210", 2, 71),
        (weights('"wts_algo":"snq_quantize","min_distance":1e-11'), "AM210", 2, 70),
        (weights('"wts_algo":"snq_quantize","init_algo":"random"'), "AM203", 2, 67),
        (weights('"channel_wise":1'), "AM201", 2, 44),
        ('{\n"batch_num":1,}', "AM101", 2, 14),
    ],
)
def test_a_wrong_value_is_told_at_its_place(text: str, code: str, line: int, column: int) -> None:
    assert in_json(text) == [(code, line, column)]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
{
    "batch_num":0,
    "conv1":{
        "activation_quant_params":{"search_step":5.0, "num_bits":"8"}
    },
    "conv2":{"weight_quant_params":{"bits":8}}
}
"""
    assert in_json(text) == [("AM210", 2, 17), ("AM213", 4, 50), ("AM201", 4, 66), ("AM200", 6, 37)]


def test_a_misspelt_key_names_the_nearest_one() -> None:
    found = only_mistake('{"conv1":{"quant_enabled":true}}', "config.json")
    assert found.message == "`conv1` has no parameter `quant_enabled`"
    assert found.help == "did you mean `quant_enable`?"


def test_a_parameter_of_the_other_algorithm_says_so() -> None:
    found = only_mistake(weights('"wts_algo":"arq_quantize","init_algo":"uniform"'), "config.json")
    assert found.help == '`"wts_algo":"snq_quantize"` has that parameter'


def test_a_number_out_of_range_is_told_its_range() -> None:
    found = only_mistake(activation('"max_percentile":0.4'), "config.json")
    assert found.message == "`max_percentile` must be above 0.5 and at most 1, not 0.4"


@pytest.mark.parametrize("key", [key for key in LIMITS if not key.startswith("ifmr_quantize.search_range")])
def test_the_schema_has_the_ranges_of_the_cfg_language(key: str) -> None:
    message, _, name = key.rpartition(".")
    definitions = layer_config_schema()["$defs"]
    fields = {
        "": layer_config_schema()["properties"],
        "bn_update_config": definitions["bn_update"]["properties"],
        "ifmr_quantize": definitions["activation"]["properties"],
        "arq_quantize": definitions["weight"]["else"]["properties"],
        "snq_quantize": definitions["weight"]["then"]["properties"],
    }[message]
    field, limits = fields[name], LIMITS[key]
    low = field.get("const", field.get("minimum", field.get("exclusiveMinimum")))
    assert low == float(limits.low)
    assert limits.above is ("exclusiveMinimum" in field)
    if limits.high is not None:
        high = field.get("const", field.get("maximum", field.get("exclusiveMaximum")))
        assert high == float(limits.high)
        assert limits.below is ("exclusiveMaximum" in field)


def test_the_schema_is_valid_in_its_own_draft() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(layer_config_schema())
