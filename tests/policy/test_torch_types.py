"""Layer types by PyTorch's names and by the format's, and what each of them can have."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from amctc.ir import Graph
from amctc.policy import LayerConfig, ResolvedPolicy, not_yet_available, resolve, to_json
from amctc.policy.explained import explain
from amctc.policy.explained_layers import explain_layers
from tests.policy.texts import cfg, layer_config, places, refused
from tests.policy.torch_graph import torch_graph

IFMR = "ifmr_quantize {{ {} }}"


@pytest.fixture
def graph() -> Generator[Graph]:
    with torch_graph() as made:
        yield made


def by_type(kind: str, body: str) -> str:
    return f'override_layer_types {{ layer_type: "{kind}" calibration_config {{ {body} }} }}\n'


def by_name(name: str, body: str) -> str:
    return f'override_layer_configs {{ layer_name: "{name}" calibration_config {{ {body} }} }}\n'


def layers(text: str, graph: Graph) -> ResolvedPolicy:
    return resolve(cfg(text), graph)


def on(resolved: ResolvedPolicy) -> list[str]:
    return [name for name, config in resolved.layers.items() if config.quant_enable.value]


def bits(config: LayerConfig) -> int:
    return config.inputs[0].num_bits.value


def wise(resolved: ResolvedPolicy) -> dict[str, bool]:
    found = resolved.layers.items()
    return {name: config.weights.channel_wise.value for name, config in found if config.weights is not None}


@pytest.mark.parametrize(
    ("types", "left"),
    [
        ("Conv", ["average", "gemm", "product"]),
        ("Conv2d", ["conv3", "average", "gemm", "product"]),
        ("Linear", ["conv2", "conv3", "average"]),
        ("Gemm", ["conv2", "conv3", "average", "product"]),
        ("AvgPool2d", ["conv2", "conv3", "gemm", "product"]),
        ("glob:Conv?d", ["average", "gemm", "product"]),
        ("ConvTranspose2d", ["conv2", "conv3", "average", "gemm", "product"]),  # no layer is of this type
    ],
)
def test_a_type_is_skipped_under_any_of_its_names(types: str, left: list[str], graph: Graph) -> None:
    resolved = layers(f'skip_layer_types: "{types}"', graph)
    assert on(resolved) == left


def test_an_override_of_a_torch_type_holds_for_its_layers(graph: Graph) -> None:
    text = by_type("Conv2d", IFMR.format("dst_type: INT16")) + by_type("Linear", IFMR.format("asymmetric: false"))
    resolved = layers(text, graph)
    assert {name: bits(config) for name, config in resolved.layers.items()} == {
        "conv2": 16, "conv3": 8, "average": 8, "gemm": 8, "product": 8
    }  # fmt: skip
    assert [name for name, config in resolved.layers.items() if not config.inputs[0].with_offset.value] == [
        "conv3", "gemm", "product"
    ]  # fmt: skip
    assert str(resolved.layers["gemm"].rule) == "override_layer_types (quant.cfg:2)"


@pytest.mark.parametrize(
    ("first", "second", "step"),
    [
        ("Conv", "Conv2d", 0.02),
        ("Conv2d", "Conv", 0.02),
        ("Conv2d", "glob:Conv*", 0.01),
        ("glob:C*", "regex:Conv2.", 0.02),
    ],
)
def test_of_two_names_of_a_type_the_last_wins_and_a_pattern_loses(
    first: str, second: str, step: float, graph: Graph
) -> None:
    text = by_type(first, IFMR.format("search_step: 0.01")) + by_type(second, IFMR.format("search_step: 0.02"))
    config = layers(text, graph).layers["conv2"]
    assert config.inputs[0].search_step.value == step
    assert len(config.lost) == 1


@pytest.mark.parametrize(
    ("name", "code", "help"),
    [
        ("Conv2D", "AM222", "did you mean `Conv2d`?"),
        ("Liner", "AM222", "did you mean `Linear`?"),
        ("Gem", "AM222", "did you mean `Gemm`?"),
        ("MaxPool2d", "AM221", "`amctc ops` lists the types that can be quantized"),
    ],
)
def test_a_wrong_type_names_the_nearest_of_all_names(name: str, code: str, help: str, graph: Graph) -> None:
    (found,) = refused(cfg(f'skip_layer_types: "{name}"'), graph)
    assert (found.code, found.help) == (code, help)


def test_an_override_in_vain_is_told_across_names(graph: Graph) -> None:
    resolved = layers('skip_layer_types: "Gemm" skip_layer_types: "MatMul"\n' + by_type("Linear", ""), graph)
    assert places(resolved.warnings) == [("AM225", 2, 36)]
    assert layers('skip_layer_types: "Gemm"\n' + by_type("Linear", ""), graph).warnings == ()


# What a type cannot have.


def test_a_layer_of_three_axes_is_symmetric_whatever_is_said_in_general(graph: Graph) -> None:
    for text in ("", "activation_offset: true", "common_config { ifmr_quantize { asymmetric: true } }"):
        resolved = layers(text, graph)
        offsets = {name: config.inputs[0].with_offset for name, config in resolved.layers.items()}
        assert [name for name, offset in offsets.items() if not offset.value] == ["conv3"]
        assert offsets["conv3"].rule.kind == "limit of Conv3d"
        assert resolved.warnings == ()


@pytest.mark.parametrize("algorithm", ["ifmr_quantize", "hfmg_quantize"])
def test_16_bits_of_common_config_give_way_with_a_warning(algorithm: str, graph: Graph) -> None:
    resolved = layers(f"common_config {{\n  {algorithm} {{ dst_type: INT16 }}\n}}", graph)
    assert {name: bits(config) for name, config in resolved.layers.items()} == {
        "conv2": 16, "conv3": 8, "average": 8, "gemm": 16, "product": 8
    }  # fmt: skip
    assert places(resolved.warnings) == [("AM276", 2, 29)] * 3
    first = resolved.warnings[0]
    assert first.message == "data of 16 bits are not for layers of type `Conv3d`, which get 8"
    assert first.notes == ("it holds for `conv3`",)
    assert "limit of Conv3d" in {str(row.rule) for row in explain(resolved, "conv3")}
    (row,) = explain_layers(resolved, "conv3")
    assert row.story[-1] == "data of 16 bits (common_config quant.cfg:2) became 8 (limit of Conv3d)"


def test_nothing_is_told_of_a_layer_that_is_skipped(graph: Graph) -> None:
    text = 'skip_layers: ["conv3", "average", "product"] common_config { ifmr_quantize { dst_type: INT16 } }'
    assert layers(text, graph).warnings == ()


def test_6_bits_of_common_config_are_for_convolutions_of_two_axes(graph: Graph) -> None:
    resolved = layers("common_config { arq_quantize { quant_bits: 6 } }", graph)
    found = {name: config.weights.num_bits.value for name, config in resolved.layers.items() if config.weights}
    assert found == {"conv2": 6, "conv3": 8, "gemm": 8, "product": 8}
    assert [d.code for d in resolved.warnings] == ["AM276"] * 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (by_name("conv3", IFMR.format("dst_type: INT16")), "AM244"),
        (by_name("conv3", IFMR.format("asymmetric: true")), "AM244"),
        (by_name("average", "hfmg_quantize { dst_type: INT16 }"), "AM244"),
        (by_name("gemm", "arq_quantize { quant_bits: 7 }"), "AM226"),
        (by_name("conv3", "ada_quantize { }"), "AM226"),
        (by_name("average", "arq_quantize { quant_bits: 6 }"), "AM226"),
        (by_type("AveragePool", IFMR.format("dst_type: INT16")), "AM244"),
        (by_type("glob:Av*", IFMR.format("dst_type: INT16")), "AM244"),
        (by_type("MatMul", "arq_quantize { quant_bits: 6 }"), "AM226"),
    ],
)
def test_what_is_said_of_a_layer_or_type_itself_is_an_error(text: str, code: str, graph: Graph) -> None:
    found = refused(cfg(text), graph)
    assert [d.code for d in found] == [code]


@pytest.mark.parametrize("kind", ["Conv", "glob:*Conv*"])
def test_a_type_of_which_some_can_is_no_error(kind: str, graph: Graph) -> None:
    resolved = layers(by_type(kind, IFMR.format("dst_type: INT16")), graph)
    assert [bits(resolved.layers[name]) for name in ("conv2", "conv3")] == [16, 8]
    assert [d.code for d in resolved.warnings] == ["AM276"]


def test_a_json_entry_of_one_layer_is_held_to_its_type(graph: Graph) -> None:
    text = '{"conv3": {"quant_enable": true, "activation_quant_params": {"num_bits": 16, "act_algo": "ifmr"}}}'
    assert [d.code for d in refused(layer_config(text), graph)] == ["AM244"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "common_config { ifmr_quantize { dst_type: INT16 asymmetric: true } arq_quantize { channel_wise: true } }",
        by_type("Linear", "hfmg_quantize { dst_type: INT16 num_of_bins: 1024 }"),
    ],
)
def test_what_is_written_as_json_gives_the_same(text: str, graph: Graph) -> None:
    resolved = layers(text, graph)
    again = resolve(layer_config(to_json(resolved)), graph)
    assert again.layers.keys() == resolved.layers.keys()
    for name, config in resolved.layers.items():
        assert again.layers[name].inputs == config.inputs
        assert again.layers[name].weights == config.weights


# A scale for each channel.


def test_linear_layers_have_one_scale_unless_it_is_said(graph: Graph) -> None:
    assert wise(layers("", graph)) == {"conv2": True, "conv3": True, "gemm": False, "product": False}
    said = "arq_quantize { channel_wise: true }"
    everywhere = dict.fromkeys(("conv2", "conv3", "gemm", "product"), True)
    assert wise(layers(f"common_config {{ {said} }}", graph)) == everywhere
    assert wise(layers(by_type("Linear", said), graph)) == everywhere
    assert wise(layers(by_name("gemm", said), graph)) == {**everywhere, "product": False}


def test_a_scale_for_each_channel_of_linear_layers_is_a_warning_before_the_model_is_known() -> None:
    policy = cfg(by_type("Linear", "arq_quantize { channel_wise: true quant_bits: 8 }"))
    assert policy.flavour.name == "pytorch"
    assert places(policy.warnings) == [("AM277", 1, 95)]


# What is not built.


def test_compressed_weights_are_understood_and_refused(graph: Graph) -> None:
    found = not_yet_available(layers(by_type("Conv2d", "weight_compress_only: true"), graph))
    assert [(d.code, d.message.startswith("`weight_compress_only` is")) for d in found] == [("AM290", True)]
    assert found[0].notes == ("it holds for `conv2`",)
    assert found[0].help
