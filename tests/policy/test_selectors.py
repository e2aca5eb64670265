"""Patterns in place of names: what they stand for, which rule wins, and what is told of them."""

from __future__ import annotations

import pytest

from amctc.ir import Graph
from amctc.policy import Policy, ResolvedPolicy, Said, resolve
from tests.policy.texts import cfg, layer_config, mistakes_of, places, refused, resolved_cfg, small_graph


def by_name(name: str, bits: int) -> str:
    config = f"ifmr_quantize {{ num_bits: {bits} }}"
    return f'override_layer_configs {{ layer_name: "{name}" calibration_config {{ {config} }} }}\n'


def by_type(name: str, bits: int) -> str:
    return by_name(name, bits).replace("layer_configs", "layer_types").replace("layer_name", "layer_type")


def bits(resolved: ResolvedPolicy, *names: str) -> list[int]:
    return [resolved.layers[name].inputs[0].num_bits.value for name in names]


def enabled(resolved: ResolvedPolicy) -> list[str]:
    return [name for name, config in resolved.layers.items() if config.quant_enable.value]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('skip_layers: "glob:conv?"', ["sum", "pool1", "fc", "prob"]),
        ('skip_layers: "regex:conv[0-9]+|fc"', ["sum", "pool1", "prob"]),
        ('skip_layers: "regex:^(conv|pool).$"', ["sum", "fc", "prob"]),
        ('skip_layers: ["glob:p*", "sum"]', ["conv1", "conv2", "fc"]),
        ('skip_layer_types: "glob:*o*"', ["sum"]),  # Convolution, InnerProduct, Pooling and Softmax
        ('skip_layer_types: "regex:Convolution|InnerProduct"', ["sum", "pool1", "prob"]),
    ],
)
def test_a_pattern_skips_all_that_it_matches(text: str, left: list[str]) -> None:
    assert enabled(resolved_cfg(text)) == left


def test_a_pattern_covers_the_whole_name() -> None:
    (found,) = refused(cfg('skip_layers: "glob:conv"'))
    assert (found.code, found.message) == ("AM220", "no layer of the model that can be quantized matches `glob:conv`")
    assert found.help == "a pattern covers the whole name: write `*` where more may stand"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (by_name("glob:conv*", 9), [9, 9]),
        (by_name("conv1", 10) + by_name("glob:conv*", 9), [10, 9]),
        (by_name("glob:conv*", 9) + by_name("conv1", 10), [10, 9]),
        (by_name("glob:*", 9) + by_name("glob:conv*", 10), [10, 10]),
        (by_name("glob:conv*", 10) + by_name("glob:*", 9), [9, 9]),
        (by_name("glob:conv*", 9) + by_type("Convolution", 10), [9, 9]),
        (by_type("glob:Conv*", 9), [9, 9]),
        (by_type("glob:Conv*", 9) + by_type("Convolution", 10) + by_type("regex:C.*", 11), [10, 10]),
        (by_type("glob:Conv*", 9) + by_type("regex:C.*", 11), [11, 11]),
    ],
)  # fmt: skip
def test_an_exact_name_wins_over_patterns_and_the_last_pattern_over_others(text: str, expected: list[int]) -> None:
    assert bits(resolved_cfg(text), "conv1", "conv2") == expected


def test_a_value_of_a_pattern_remembers_its_line() -> None:
    config = resolved_cfg("batch_num: 2\n" + by_name("glob:conv*", 9)).layers["conv2"]
    assert str(config.inputs[0].num_bits.rule) == "override_layer_configs (quant.cfg:2)"


@pytest.mark.parametrize("text", [by_name("glob:*1", 9), by_type("regex:.*", 9)])
def test_a_pattern_switches_nothing_on(text: str) -> None:
    resolved = resolved_cfg(text)
    assert enabled(resolved) == enabled(resolve(Policy(), small_graph()))
    assert bits(resolved, "relu1", "conv1") == [9, 9]


def test_what_an_exact_rule_switches_on_a_pattern_leaves_on() -> None:
    config = resolved_cfg(by_type("ReLU", 10) + by_name("glob:relu*", 9)).layers["relu1"]
    assert config.quant_enable.value
    assert str(config.quant_enable.rule) == "override_layer_types (quant.cfg:1)"
    assert config.inputs[0].num_bits.value == 9


def test_a_pattern_stands_for_names_in_skip_fusion_layers() -> None:
    resolved = resolved_cfg('skip_fusion_layers: ["glob:*1", "conv1", "regex:fc"]')
    names = [(name.value, str(name.rule)) for name in resolved.general.skip_fusion_layers]
    assert names == [(name, "skip_fusion_layers (quant.cfg:1)") for name in ("conv1", "bn1", "scale1", "fc")]


def test_a_layer_whose_name_begins_like_a_pattern_is_meant_by_it() -> None:
    graph = Graph()
    value = graph.add("in", "caffe.Input").output
    value = graph.add("glob:*", "caffe.Pooling", [value]).output
    graph.add("fc", "caffe.InnerProduct", [value])
    assert enabled(resolved_cfg('skip_layers: "glob:*"', graph)) == ["fc"]


def test_the_weights_of_a_pattern_give_way_where_there_are_none() -> None:
    text = 'override_layer_configs { layer_name: "glob:*" calibration_config { snq_quantize { channel_wise: true } } }'
    resolved = resolved_cfg(text)
    assert resolved.layers["pool1"].weights is None
    assert str(resolved.layers["conv1"].weight_settings).startswith("SnqSettings(channel_wise=True")
    assert str(resolved.layers["fc"].weight_settings).startswith("SnqSettings(channel_wise=False")


def test_weights_of_a_pattern_that_no_layer_can_have_are_an_error() -> None:
    text = 'override_layer_configs { layer_name: "glob:p*" calibration_config { arq_quantize { } } }'
    (found,) = refused(cfg(text))
    assert (found.code, found.span and found.span.text) == ("AM226", "arq_quantize")


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ('skip_layers: "glob:conf*"', "AM220", 14),
        ('skip_layers: "glob:drop"', "AM220", 14),
        ('skip_layer_types: "glob:Drop*"', "AM222", 19),
        ('skip_fusion_layers: "regex:pool."', "AM220", 21),
        (by_name("regex:conv", 9), "AM220", 38),
        (by_type("glob:conv*", 9), "AM222", 36),
    ],
)
def test_a_pattern_that_stands_for_nothing_is_an_error(text: str, code: str, column: int) -> None:
    assert places(refused(cfg(text))) == [(code, 1, column)]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('skip_layers: "regex:conv("', 14),
        ('skip_fusion_layers: "glob:"', 21),
        ('skip_layer_types: "regex:(?=a)"', 19),
        (by_name("regex:a**", 9), 38),
    ],
)
def test_a_pattern_that_cannot_be_read_is_told_without_a_model(text: str, column: int) -> None:
    assert mistakes_of(text) == [("AM234", 1, column)]


def test_a_wrong_pattern_of_a_layer_config_is_told_at_its_key() -> None:
    assert mistakes_of('{\n"regex:(": {}}', "config.json") == [("AM234", 2, 1)]


def test_a_policy_made_without_a_file_is_checked_too() -> None:
    (found,) = refused(Policy(skip_layers=(Said("regex:("),)))
    assert found.code == "AM234"


def test_more_than_five_hundred_patterns_are_refused() -> None:
    text = "skip_layers: [\n" + ",\n".join(f'"glob:*{number}"' for number in range(502)) + "]"
    assert mistakes_of(text) == [("AM234", 502, 1)]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (by_name("glob:conv*", 9) + by_name("regex:conv.", 10), (1, 38), "others win for all that it stands for"),
        (by_name("conv1", 9) + by_name("conv2", 9) + by_name("glob:conv*", 10), (3, 38), "others win"),
        (by_name("glob:conv*", 9) + 'skip_layers: "regex:conv."', (1, 38), "`skip_layers` wins"),
        (by_name("glob:conv*", 9) + 'skip_layer_types: "glob:Conv*"', (1, 38), "`skip_layer_types` wins"),
        (by_name("conv1", 9) + 'skip_layers: "glob:conv1*"', (1, 38), "`skip_layers` wins"),
        (by_type("glob:Pool*", 9) + 'skip_layer_types: "Pooling"', (1, 36), "`skip_layer_types` wins"),
        (by_name("glob:relu*", 9), (1, 38), "is off by default, which a pattern does not switch on"),
        (by_type("glob:*ReLU", 9), (1, 36), "is off by default, which a pattern does not switch on"),
    ],
)
def test_an_override_in_vain_is_warned_of(text: str, place: tuple[int, int], words: str) -> None:
    (warning,) = resolved_cfg(text).warnings
    assert places((warning,)) == [("AM225", *place)]
    assert words in warning.message


@pytest.mark.parametrize(
    "text",
    [
        by_name("glob:conv*", 9) + 'skip_layers: "conv1"',
        by_name("glob:conv*", 9) + by_name("conv1", 10),
        by_name("glob:*1", 9),
        by_type("ReLU", 9) + by_name("glob:relu*", 10),
    ],
)
def test_an_override_that_counts_for_one_layer_is_not(text: str) -> None:
    assert resolved_cfg(text).warnings == ()


def test_a_pattern_is_the_entry_of_all_layers_without_one_of_their_own() -> None:
    text = (
        '{"conv1": {}, "glob:*1": {"activation_quant_params": {"num_bits": 12}}, '
        '"regex:relu.": {"quant_enable": true}, "glob:p*": {"quant_enable": false}}'
    )
    resolved = resolve(layer_config(text), small_graph())
    assert enabled(resolved) == ["conv1", "relu1"]  # of what `*1` stands for, only these are not off or overruled
    assert bits(resolved, "conv1", "relu1", "bn1", "pool1") == [8, 8, 12, 8]


def test_a_pattern_that_matches_a_layer_on_by_default_quantizes_it() -> None:
    assert enabled(resolve(layer_config('{"glob:*1": {}}'), small_graph())) == ["conv1", "pool1"]


def test_a_list_of_inputs_of_a_pattern_must_fit_all_layers() -> None:
    text = '{"glob:[cs]*[!1]": {"activation_quant_params": [{}]}}'
    (found,) = refused(layer_config(text))
    assert (found.code, found.message) == ("AM215", "layer `sum` has 2 data inputs, but there are parameters for 1")
