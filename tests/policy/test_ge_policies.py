"""Policies of the flavour `ge` on GE graphs."""

from __future__ import annotations

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.policy import ResolvedPolicy, not_yet_available, resolve, to_json
from amctc.policy.explained import explain
from amctc.policy.explained_layers import explain_layers
from amctc.policy.flavours import GE, usual_flavour
from amctc.quant.ifmr import IfmrSettings
from tests.ge_graphs import GeNet, read_back
from tests.policy.texts import cfg, layer_config, places, refused
from tests.quantized import outputs, quantize

DEFAULTS = ["conv2d", "depthwise", "average", "full"]
"""What is quantized where nothing is said."""


def make_graph(dtype: str = "float32") -> Graph:
    net = GeNet(dtype=dtype)
    conv = net.relu(net.conv(net.data(1, 4, 8, 8), 8))
    pooled = net.op("Pooling", [conv], name="largest", mode=0, window=(2, 2), stride=(2, 2))
    wise = net.op("DepthwiseConv2D", [pooled], net.depthwise_weights(pooled), "depthwise", more=net.same_size(3))
    total = net.op("Eltwise", [pooled, wise], name="sum", N=2, mode=1)
    mean = net.op("Pooling", [total], name="average", mode=1, window=(2, 2), stride=(2, 2))
    full = net.op("FullyConnection", [mean], net.full_weights(mean, 5), "full", num_output=5)
    return net.finish(net.op("SoftmaxV2", [full], name="softmax", axes=(1,)))


def override(key: str, value: str, weights: str = "") -> str:
    """An override by `type` or `name`."""
    where = {"type": "override_layer_types", "name": "override_layer_configs"}[key]
    body = f"arq_quantize {{ {weights} }}" if weights else ""
    return f'{where} {{ layer_{key}: "{value}" calibration_config {{ {body} }} }}'


@pytest.fixture(scope="module")
def graph() -> Graph:
    return make_graph()


def resolved(text: str, graph: Graph) -> ResolvedPolicy:
    return resolve(cfg(f"# amctc: flavour = ge\n{text}"), graph)


def on(policy: ResolvedPolicy) -> list[str]:
    return [name for name, config in policy.layers.items() if config.quant_enable.value]


def test_a_graph_of_ge_is_spoken_of_in_the_flavour_ge(graph: Graph) -> None:
    assert usual_flavour(graph) == GE
    assert on(resolved("", graph)) == DEFAULTS


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('skip_layers: "full"', ["conv2d", "depthwise", "average"]),
        ('skip_layers: "glob:*wise*"', ["conv2d", "average", "full"]),
        ('skip_layer_types: "Pooling"', ["conv2d", "depthwise", "full"]),
        (override("type", "Eltwise"), ["conv2d", "depthwise", "sum", "average", "full"]),
        (override("name", "largest"), ["conv2d", "largest", "depthwise", "average", "full"]),
    ],
)  # fmt: skip
def test_lists_and_overrides_name_layers_and_types_of_ge(text: str, left: list[str], graph: Graph) -> None:
    assert on(resolved(text, graph)) == left


@pytest.mark.parametrize(
    ("text", "code", "help"),
    [
        ('skip_layer_types: "Convolution"', "AM222", "did you mean `Deconvolution`?"),
        ('skip_layer_types: "Conv2d"', "AM222", "did you mean `Conv2D`?"),
        ('skip_layer_types: "Relu"', "AM221", "`amctc ops` lists the types that can be quantized"),
        ('skip_layers: "conv"', "AM220", "did you mean `conv2d`?"),
        ('skip_fusion_layers: "relu"', "AM223", "take it out of `skip_fusion_layers`"),
        (override("type", "FullyConnection", "channel_wise: true"), "AM227", "write `channel_wise: false`"),
        (override("type", "DepthwiseConv2D", "quant_bits: 7"), "AM226", "only those of `Conv2D` can; take 8"),
        (override("name", "full", "quant_bits: 6"), "AM226", "only those of `Conv2D` can; take 8"),
    ],
)  # fmt: skip
def test_what_ge_does_not_have_is_told(text: str, code: str, help: str, graph: Graph) -> None:
    try:
        found = refused(cfg(f"# amctc: flavour = ge\n{text}"), graph)
    except DiagnosticError as mistakes:  # told when the policy is read
        found = mistakes.diagnostics
    assert [(each.code, each.help) for each in found] == [(code, help)]


def test_6_bits_of_common_config_are_for_conv2d_alone(graph: Graph) -> None:
    policy = resolved("common_config { arq_quantize { quant_bits: 6 } }", graph)
    found = {name: config.weights.num_bits.value for name, config in policy.layers.items() if config.weights}
    assert found == {"conv2d": 6, "depthwise": 8, "full": 8}
    assert [each.code for each in policy.warnings] == ["AM276", "AM276"]
    assert not_yet_available(policy) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("common_config { ifmr_quantize { dst_type: INT16 } }", "data of 16 bits"),
        ("common_config { weight_compress_only: true }", "`weight_compress_only`"),
        ("joint_quant: true", "`joint_quant`"),
        ("enable_auto_nuq: true", "`enable_auto_nuq`"),
        (
            'tensor_quantize { layer_name: "sum" input_index: 1 ifmr_quantize { dst_type: INT16 } }',
            "data of 16 bits",
        ),
    ],
)
def test_what_is_not_built_is_refused_when_compiling(text: str, words: str, graph: Graph) -> None:
    (found,) = not_yet_available(resolved(text, graph))
    assert (found.code, found.message.startswith(f"{words} ")) == ("AM290", True)


def test_weights_of_4_bits_of_another_flavour_become_8(graph: Graph) -> None:
    policy = resolve(cfg("common_config { arq_quantize { quant_bits: 4 } }"), graph)
    assert {config.weights.num_bits.value for config in policy.layers.values() if config.weights} == {8}


def test_what_reads_float16_is_quantized_only_with_weights() -> None:
    halves = make_graph("float16")
    assert on(resolved("", halves)) == ["conv2d", "depthwise", "full"]
    assert "average" not in resolved("", halves).layers


# -- tensor_quantize -------------------------------------------------------------------------------

ONE_INPUT = 'tensor_quantize { layer_name: "sum" input_index: 1 ifmr_quantize { search_step: 0.02 asymmetric: false } }'


def test_one_input_is_quantized_on_its_own(graph: Graph) -> None:
    policy = resolved(ONE_INPUT, graph)
    assert on(policy) == DEFAULTS
    quant = policy.quant_of(graph.node("sum"))
    assert quant is not None
    (only,) = quant.inputs
    assert (only.index, only.bits, quant.weight) == (1, 8, None)
    rows = {row.field: row.value for row in explain(policy, "sum")}
    assert rows["tensor_quantize[1].search_step"] == 0.02
    assert rows["tensor_quantize[1].with_offset"] is False
    (row,) = explain_layers(policy, "sum")
    assert (row.quantized, row.rule, row.location, row.data_bits) == (True, "tensor_quantize", "quant.cfg:2", (8,))


def test_inputs_of_one_layer_add_up_and_replace_those_of_its_config(graph: Graph) -> None:
    both = 'tensor_quantize { layer_name: "sum" input_index: 1 } tensor_quantize { layer_name: "sum" input_index: 0 }'
    quant = resolved(both, graph).quant_of(graph.node("sum"))
    assert quant is not None
    assert [each.index for each in quant.inputs] == [0, 1]
    override = (
        'override_layer_types { layer_type: "Eltwise" calibration_config { ifmr_quantize { search_step: 0.5 } } }'
    )
    mixed = resolved(f"{override} {ONE_INPUT}", graph).quant_of(graph.node("sum"))
    assert mixed is not None
    steps = [each.settings.search_step for each in mixed.inputs if isinstance(each.settings, IfmrSettings)]
    assert steps == [0.5, 0.02]


@pytest.mark.parametrize(
    ("entry", "code", "words"),
    [
        ('layer_name: "max" input_index: 0', "AM220", "the model has no layer `max`"),
        ('layer_name: "relu" input_index: 0', "AM221", "the inputs of layer `relu` cannot be quantized on their own"),
        ('layer_name: "conv2d" input_index: 0', "AM221", "is quantized together with its weights"),
        ('layer_name: "sum" input_index: 2', "AM221", "layer `sum` has no input 2 that can be quantized"),
    ],
)
def test_inputs_that_cannot_be_are_told(entry: str, code: str, words: str, graph: Graph) -> None:
    (found,) = refused(cfg(f"tensor_quantize {{ {entry} }}"), graph)
    assert found.code == code
    assert words in found.message
    assert found.span is not None


def test_a_skipped_layer_has_no_tensor_quantized(graph: Graph) -> None:
    policy = resolved(f'skip_layers: "sum" {ONE_INPUT}', graph)
    assert places(policy.warnings) == [("AM225", 2, 50)]
    assert policy.quant_of(graph.node("sum")) is None


def test_a_layer_config_says_the_same_again(graph: Graph) -> None:
    policy = resolved(f"{ONE_INPUT} common_config {{ arq_quantize {{ quant_bits: 7 }} }}", graph)
    again = resolve(layer_config(to_json(policy)), graph)
    assert again == policy
    assert again.tensors == policy.tensors


def test_a_tensor_alone_is_enough_to_quantize(graph: Graph) -> None:
    everything = 'skip_layer_types: ["Conv2D", "DepthwiseConv2D", "FullyConnection", "Pooling"]'
    assert on(resolved(f"{everything} {ONE_INPUT}", graph)) == []


def test_the_written_graph_has_the_tensor_between_quant_and_anti_quant() -> None:
    made = make_graph()
    feeds = [{"data": np.random.default_rng(seed).normal(size=(1, 4, 8, 8)).astype(np.float32)} for seed in range(2)]
    quantize(made, feeds, ONE_INPUT)
    assert [value.producer.op for value in made.node("sum").inputs] == ["ge.Pooling", "quant.AntiQuantize"]
    anti = made.node("sum").inputs[1].producer
    assert [each.name for each in (anti, anti.inputs[0].producer)] == ["sum.anti_quant", "sum.quant"]
    again = read_back(made)
    (found,), (wanted,) = (outputs(each, feeds[0]).values() for each in (again, made))
    np.testing.assert_array_equal(found, wanted)
