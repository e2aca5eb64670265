"""What each layer of a graph gets from a policy, and which rule gave it."""

from __future__ import annotations

import pytest

from amctc.ir import Graph, Provenance
from amctc.policy import ArqSettings, Policy, ResolvedPolicy, Said, SnqSettings, not_yet_available, resolve
from amctc.quant.ifmr import IfmrSettings
from tests.policy.texts import SAMPLE_CFG, cfg, layer_config, places, refused, resolved_cfg, small_graph

COMMON = "common_config { ifmr_quantize { num_bits: 9 search_step: 0.05 } }\n"
BY_TYPE = 'override_layer_types { layer_type: "Convolution" calibration_config { ifmr_quantize { num_bits: 10 } } }\n'
IFMR_11 = "ifmr_quantize { num_bits: 11 }"
BY_NAME = f'override_layer_configs {{ layer_name: "conv1" calibration_config {{ {IFMR_11} }} }}\n'
RELU_BY_TYPE = 'override_layer_types { layer_type: "ReLU" calibration_config { } }\n'
RELU_BY_NAME = 'override_layer_configs { layer_name: "relu1" calibration_config { } }\n'


def bits(resolved: ResolvedPolicy, layer: str) -> tuple[int, str]:
    """The data bits of a layer's first input, and the kind of the rule that gave them."""
    found = resolved.layers[layer].inputs[0].num_bits
    return found.value, found.rule.kind


def test_the_defaults_hold_where_nothing_is_said() -> None:
    resolved = resolve(Policy(), small_graph())
    assert (resolved.batch_num, resolved.activation_offset, resolved.do_fusion) == (1, True, True)
    assert resolved.skip_fusion_layers == frozenset()
    assert resolved.update_bn is False
    enabled = {name: config.quant_enable.value for name, config in resolved.layers.items()}
    assert enabled == {
        "conv1": True,
        "bn1": False,
        "scale1": False,
        "relu1": False,
        "conv2": True,
        "sum": True,
        "pool1": True,
        "fc": True,
        "prob": True,
    }
    conv = resolved.layers["conv1"]
    expected = IfmrSettings(8, True, 0.999999, 0.999999, (0.7, 1.3), 0.01)
    assert conv.input_settings == (expected,)
    assert conv.weight_settings == ArqSettings(channel_wise=True, bits=8)
    assert str(conv.quant_enable.rule) == "built-in default of Convolution"
    assert resolved.layers["fc"].weight_settings == ArqSettings(channel_wise=False, bits=8)
    assert resolved.layers["pool1"].weight_settings is None


def test_a_layer_with_several_data_inputs_has_settings_for_each() -> None:
    config = resolve(Policy(), small_graph()).layers["sum"]
    assert [entry.index for entry in config.inputs] == [0, 1]


@pytest.mark.parametrize(
    ("text", "conv1", "conv2", "pool1"),
    [
        ("", (8, "built-in default of Convolution"), (8, "built-in default of Convolution"),
         (8, "built-in default of Pooling")),
        (COMMON, (9, "common_config"), (9, "common_config"), (9, "common_config")),
        (COMMON + BY_TYPE, (10, "override_layer_types"), (10, "override_layer_types"), (9, "common_config")),
        (COMMON + BY_NAME, (11, "override_layer_configs"), (9, "common_config"), (9, "common_config")),
        (BY_NAME + BY_TYPE + COMMON, (11, "override_layer_configs"), (10, "override_layer_types"),
         (9, "common_config")),
        (BY_TYPE, (10, "override_layer_types"), (10, "override_layer_types"), (8, "built-in default of Pooling")),
    ],
)  # fmt: skip
def test_the_strongest_rule_gives_the_value(
    text: str, conv1: tuple[int, str], conv2: tuple[int, str], pool1: tuple[int, str]
) -> None:
    resolved = resolved_cfg(text)
    assert (bits(resolved, "conv1"), bits(resolved, "conv2"), bits(resolved, "pool1")) == (conv1, conv2, pool1)


def test_an_override_replaces_common_config_as_a_whole() -> None:
    conv = resolved_cfg(COMMON + BY_NAME).layers["conv1"]
    step = conv.inputs[0].search_step
    assert (step.value, step.rule.kind) == (0.01, "built-in default of Convolution")


def test_an_override_without_weights_does_not_take_those_of_common_config() -> None:
    resolved = resolved_cfg("common_config { snq_quantize { } }\n" + BY_NAME)
    assert resolved.layers["conv1"].weight_settings == ArqSettings(channel_wise=True)
    assert resolved.layers["conv2"].weight_settings == SnqSettings(channel_wise=True)


def test_every_value_remembers_its_line() -> None:
    resolved = resolved_cfg("activation_offset: false\n" + COMMON)
    entry = resolved.layers["conv1"].inputs[0]
    assert str(entry.num_bits.rule) == "common_config (quant.cfg:2)"
    assert str(entry.with_offset.rule) == "activation_offset (quant.cfg:1)"
    assert entry.with_offset.value is False
    assert str(resolved.layers["conv1"].rule) == "common_config (quant.cfg:2)"


@pytest.mark.parametrize(
    ("text", "layer", "enabled", "rule"),
    [
        ('skip_layers: "conv1"', "conv1", False, "skip_layers (quant.cfg:1)"),
        ('skip_layer_types: "Convolution"', "conv2", False, "skip_layer_types (quant.cfg:1)"),
        (COMMON, "relu1", False, "built-in default of ReLU"),
        (RELU_BY_TYPE, "relu1", True, "override_layer_types (quant.cfg:1)"),
        (RELU_BY_NAME, "relu1", True, "override_layer_configs (quant.cfg:1)"),
        (RELU_BY_NAME + 'skip_layers: "relu1"', "relu1", False, "skip_layers (quant.cfg:2)"),
        (RELU_BY_NAME + 'skip_layer_types: "ReLU"', "relu1", False, "skip_layer_types (quant.cfg:2)"),
        (RELU_BY_TYPE + 'skip_layers: "relu1"', "relu1", False, "skip_layers (quant.cfg:2)"),
        (BY_NAME, "conv1", True, "built-in default of Convolution"),
    ],
)
def test_what_switches_a_layer_on_and_off(text: str, layer: str, enabled: bool, rule: str) -> None:
    found = resolved_cfg(text).layers[layer].quant_enable
    assert (found.value, str(found.rule)) == (enabled, rule)


def test_a_skipped_layer_keeps_its_settings() -> None:
    config = resolved_cfg(BY_TYPE + 'skip_layers: "conv1"').layers["conv1"]
    assert config.inputs[0].num_bits.value == 10
    assert config.quant is None


def test_common_config_gives_way_where_a_type_has_one_scale() -> None:
    config = resolved_cfg("common_config { arq_quantize { channel_wise: true } }").layers["fc"]
    assert config.weights is not None
    assert (config.weights.channel_wise.value, str(config.weights.channel_wise.rule)) == (
        False,
        "limit of InnerProduct",
    )


def test_the_weights_of_common_config_do_not_concern_layers_without_any() -> None:
    assert resolved_cfg("common_config { arq_quantize { } }").layers["pool1"].weights is None


def test_the_sample_of_the_manual_resolves() -> None:
    resolved = resolved_cfg(SAMPLE_CFG)
    assert resolved.layers["pool1"].quant_enable.rule.kind == "skip_layers"
    assert resolved.layers["prob"].quant_enable.rule.kind == "skip_layer_types"
    assert resolved.layers["conv1"].weight_settings == ArqSettings(channel_wise=True)
    (settings,) = resolved.layers["conv1"].input_settings
    assert isinstance(settings, IfmrSettings) and settings.search_range == (0.8, 1.2)
    assert resolved.layers["conv2"].weight_settings == SnqSettings(True, 4, 1000, 1e-10, "gaussian")
    assert resolved.layers["fc"].weight_settings == ArqSettings(channel_wise=False)
    assert resolved.skip_fusion_layers == {"conv1"}
    assert resolved.update_bn is True


@pytest.mark.parametrize(
    ("text", "code", "place", "help"),
    [
        ('skip_layers: "conv9"', "AM220", (1, 14), "did you mean `conv2`?"),
        ('skip_layers: "drop"', "AM221", (1, 14), "`amctc ops` lists the types that can be quantized"),
        ('skip_layer_types: "Dropout"', "AM221", (1, 19), "`amctc ops` lists the types that can be quantized"),
        ('skip_layer_types: "Convolutoin"', "AM222", (1, 19), "did you mean `Convolution`?"),
        (BY_NAME.replace("conv1", "covn1"), "AM220", (1, 38), "did you mean `conv1`?"),
        (BY_NAME.replace("conv1", "data"), "AM221", (1, 38), "`amctc ops` lists the types that can be quantized"),
        (BY_TYPE.replace("Convolution", "Pool"), "AM222", (1, 36), "did you mean `Pooling`?"),
        ('skip_fusion_layers: "conv9"', "AM220", (1, 21), "did you mean `conv2`?"),
        ('skip_fusion_layers: "pool1"', "AM223", (1, 21), "take it out of `skip_fusion_layers`"),
        (BY_NAME.replace("conv1", "fc").replace(IFMR_11, "arq_quantize { channel_wise: true }"),
         "AM227", (1, 93), "write `channel_wise: false`"),
        (BY_NAME.replace("conv1", "pool1").replace(IFMR_11, "arq_quantize { }"),
         "AM226", (1, 67), "leave the weight algorithm out; their data can be quantized"),
        ('skip_layer_types: ["Convolution", "InnerProduct", "Eltwise", "Pooling", "Softmax"]', "AM224", (1, 20),
         "let at least one layer be quantized"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_told_at_its_place(
    text: str, code: str, place: tuple[int, int], help: str
) -> None:
    diagnostics = refused(cfg(text))
    assert places(diagnostics) == [(code, *place)]
    assert diagnostics[0].help == help


def test_all_that_does_not_fit_is_told_at_once() -> None:
    text = 'skip_layers: ["a", "conv1"]\nskip_layer_types: "b"\nskip_fusion_layers: "c"\n'
    assert places(refused(cfg(text))) == [("AM220", 1, 15), ("AM222", 2, 19), ("AM220", 3, 21)]


@pytest.mark.parametrize("name", ["conv1", "fc", "bn1", "scale1"])
def test_the_layers_that_can_be_fused_can_be_kept_from_it(name: str) -> None:
    assert resolved_cfg(f'skip_fusion_layers: "{name}"').skip_fusion_layers == {name}


def test_a_model_without_quantizable_layers_is_refused() -> None:
    graph = Graph()
    graph.add("data", "caffe.Input")
    (found,) = refused(Policy(), graph)
    assert (found.code, found.message) == ("AM224", "the model has no layer that can be quantized")


@pytest.mark.parametrize(
    ("text", "place", "related"),
    [
        (BY_NAME + 'skip_layers: "conv1"', (1, 38), "quant.cfg:2:14"),
        (BY_NAME + 'skip_layer_types: "Convolution"', (1, 38), "quant.cfg:2:19"),
        (BY_TYPE + 'skip_layer_types: "Convolution"', (1, 36), "quant.cfg:2:19"),
    ],
)
def test_an_override_of_something_skipped_is_warned_of(text: str, place: tuple[int, int], related: str) -> None:
    warnings = resolved_cfg(text).warnings
    assert places(warnings) == [("AM225", *place)]
    assert [str(label.span) for label in warnings[0].related] == [related]


def test_a_json_layer_without_an_entry_is_not_quantized() -> None:
    resolved = resolve(layer_config('{"conv1":{}}'), small_graph())
    assert [name for name, config in resolved.layers.items() if config.quant_enable.value] == ["conv1"]
    assert str(resolved.layers["conv2"].quant_enable.rule) == "json (no entry)"
    assert str(resolved.layers["conv1"].quant_enable.rule) == "json (config.json:1)"


def test_a_json_entry_switches_on_what_is_off_by_default() -> None:
    assert resolve(layer_config('{"relu1":{}}'), small_graph()).layers["relu1"].quant_enable.value


def test_one_json_object_stands_for_every_input() -> None:
    text = '{"sum":{"activation_quant_params":{"num_bits":12}}}'
    config = resolve(layer_config(text), small_graph()).layers["sum"]
    assert [settings.bits for settings in config.input_settings] == [12, 12]


def test_json_gives_each_input_its_own() -> None:
    text = '{"activation_offset":true,"sum":{"activation_quant_params":[{"num_bits":12},{"with_offset":false}]}}'
    config = resolve(layer_config(text), small_graph()).layers["sum"]
    assert [(settings.bits, settings.with_offset) for settings in config.input_settings] == [(12, True), (8, False)]


@pytest.mark.parametrize(
    ("text", "code", "place", "help"),
    [
        ('{"conv1":{},\n"conv8":{}}', "AM228", (2, 1), "did you mean `conv2`?"),
        ('{"conv1":{},\n"bn_update_cfg":{}}', "AM228", (2, 1), "did you mean `bn_update_config`?"),
        ('{"conv1":{},\n"drop":{}}', "AM221", (2, 1), "`amctc ops` lists the types that can be quantized"),
        ('{\n"sum":{"activation_quant_params":[{}]}}', "AM215", (2, 34),
         "give one object for each, or one object alone for all"),
        ('{\n"conv1":{"activation_quant_params":[{},{}]}}', "AM215", (2, 36),
         "give one object for each, or one object alone for all"),
        ('{\n"pool1":{"weight_quant_params":{"wts_algo":"arq_quantize"}}}', "AM226", (2, 10),
         "leave the weight algorithm out; their data can be quantized"),
        ('{\n"fc":{"weight_quant_params":{"channel_wise":true}}}', "AM227", (2, 45), "write `channel_wise: false`"),
        ('{"skip_fusion_layers":["nope"],"conv1":{}}', "AM220", (1, 24), None),
    ],
)  # fmt: skip
def test_json_that_does_not_fit_the_model_is_told_at_its_place(
    text: str, code: str, place: tuple[int, int], help: str | None
) -> None:
    diagnostics = refused(layer_config(text))
    assert places(diagnostics) == [(code, *place)]
    assert diagnostics[0].help == help


def test_json_that_switches_everything_off_is_refused() -> None:
    (found,) = refused(layer_config('{"conv1":{"quant_enable":false}}'))
    assert (found.code, found.location) == ("AM224", "config.json")


def test_a_caller_can_say_values_without_a_file() -> None:
    resolved = resolve(Policy(batch_num=Said(5), activation_offset=Said(False)), small_graph())
    assert resolved.batch_num == 5
    assert resolved.layers["conv1"].input_settings[0].with_offset is False


def test_the_annotation_of_a_node_names_its_rule() -> None:
    graph = small_graph()
    resolved = resolved_cfg(BY_NAME, graph)
    quant = resolved.quant_of(graph.node("conv1"))
    assert quant is not None and quant.weight is not None
    assert quant.rule == "override_layer_configs (quant.cfg:1)"
    assert [(entry.index, entry.bits) for entry in quant.inputs] == [(0, 11)]
    assert (quant.weight.algorithm, quant.weight.bits, quant.weight.channel_wise) == ("arq_quantize", 8, True)
    assert resolved.quant_of(graph.node("relu1")) is None
    assert resolved.quant_of(graph.node("drop")) is None


def test_a_node_that_stands_for_a_quantized_layer_takes_its_settings() -> None:
    graph = small_graph()
    text = 'override_layer_configs { layer_name: "bn1" calibration_config { ifmr_quantize { num_bits: 12 } } }'
    resolved = resolved_cfg(text, graph)
    provenance = Provenance(absorbed=("bn1", "scale1"))
    node = graph.add("bn1_depthwise", "caffe.DepthwiseConv", [graph.node("conv1").output], provenance=provenance)
    quant = resolved.quant_of(node)
    assert quant is not None and quant.weight is not None
    assert quant.inputs[0].bits == 12
    assert quant.weight.channel_wise


def test_what_is_not_built_is_told_at_its_rule() -> None:
    text = "joint_quant: true\n"
    text += "override_layer_configs { layer_name: 'conv2' calibration_config { weight_compress_only: true } }"
    found = not_yet_available(resolved_cfg(text))
    assert places(tuple(found)) == [("AM290", 2, 89), ("AM290", 1, 14)]
    assert found[0].notes == ("it holds for `conv2`",)


def test_what_is_built_is_not_complained_of() -> None:
    assert not_yet_available(resolved_cfg("update_bn: false\n" + COMMON)) == []
    assert not_yet_available(resolved_cfg(SAMPLE_CFG)) == []
