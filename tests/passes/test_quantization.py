"""annotate-quant to insert-quant: what is annotated, observed once, inserted and shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph
from amctc.quant.ifmr import IfmrSettings, search
from tests.nets import conv, data, layer, make_net
from tests.quantized import Feeds, outputs, quantize, random_feeds, run_passes


def fire(tmp_path: Path) -> Graph:
    """A squeeze-and-expand module: a value with two readers, ReLU in place, and a Concat."""
    text = (
        data("2 4 9 9")
        + conv("squeeze", "data", 4, kernel=1)
        + layer("squeeze/relu", "ReLU", "squeeze", "squeeze")
        + conv("left", "squeeze", 5, kernel=1)
        + conv("right", "squeeze", 6, more="pad: 1")
        + layer("cat", "Concat", "left right", "cat")
        + layer("pool", "Pooling", "cat", "pool", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }")
        + layer("fc", "InnerProduct", "pool", "fc", "inner_product_param { num_output: 7 }")
        + layer("prob", "Softmax", "fc", "prob")
    )
    return make_net(tmp_path, text)


def producers(graph: Graph, name: str) -> list[str]:
    return [value.producer.name for value in graph.node(name).inputs]


def test_a_value_that_several_layers_read_is_observed_once_and_its_quantize_is_shared(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    run_passes(graph, "annotate-quant,quantize-weights,observe")
    observers = [node for node in graph.nodes if node.op == "quant.Observe"]
    assert [node.attrs["layers"] for node in observers if node.inputs[0].producer.name == "squeeze/relu"] == [
        ("left", "right")
    ]
    graph = fire(tmp_path)
    quantize(graph, random_feeds(graph, 1))
    assert producers(graph, "left") == producers(graph, "right") == ["left.quant"]


def test_unequal_settings_are_observed_and_quantized_apart(tmp_path: Path) -> None:
    policy = "override_layer_configs { layer_name: 'right' calibration_config { ifmr_quantize { num_bits: 12 } } }"
    graph = fire(tmp_path)
    quantize(graph, random_feeds(graph, 1), policy)
    assert producers(graph, "left") == ["left.quant"]
    assert producers(graph, "right") == ["right.quant"]
    assert graph.node("right.quant").output.dtype == "int16"


def test_layers_with_weights_become_integer_and_others_go_through_anti_quantize(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    quantize(graph, random_feeds(graph, 1))
    for name in ("squeeze", "left", "right", "fc"):
        node = graph.node(name)
        assert node.weights["weight"].dtype == np.int8
        assert node.weights["bias"].dtype == np.int32
        assert node.output.dtype == "int32"
        (use,) = graph.uses(node.output)
        assert use.node.name == f"{name}.dequant"
    assert producers(graph, "cat") == ["cat.anti_quant.0", "cat.anti_quant.1"]
    assert producers(graph, "pool") == ["pool.anti_quant"]
    assert [value.blob for value in graph.outputs] == ["prob"]


def test_every_annotated_input_has_factors_of_its_own(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    quantize(graph, random_feeds(graph, 1))
    cat = graph.node("cat").quant
    assert cat is not None
    assert [given.index for given in cat.inputs] == [0, 1]
    assert cat.inputs[0].scale != cat.inputs[1].scale


def test_calibration_finds_the_scale_that_the_exact_search_finds(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    batches = random_feeds(graph, 5, count=3)
    quantize(graph, batches, "batch_num: 3 activation_offset: false")
    found = graph.node("squeeze").quant
    assert found is not None
    every = np.concatenate([batch["data"].ravel() for batch in batches])
    exact = search(every, IfmrSettings(with_offset=False))
    assert found.inputs[0].scale == pytest.approx(float(exact.scale), rel=1e-7)
    assert found.inputs[0].offset == 0


def test_activations_are_calibrated_on_quantized_weights(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    (feeds,) = random_feeds(graph, 6)
    plain = outputs(graph, feeds)["prob"]
    run_passes(graph, "annotate-quant,quantize-weights")
    weight = graph.node("squeeze").weights["weight"]
    assert weight.dtype == np.int8
    changed = outputs(graph, feeds)["prob"]
    assert 0 < np.abs(changed - plain).max() < 0.05


def test_a_quantized_net_stays_close_to_the_float_one(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    batches = random_feeds(graph, 7, count=2)
    plain = outputs(graph, batches[0])["prob"]
    quantize(graph, batches, "batch_num: 2")
    assert np.abs(outputs(graph, batches[0])["prob"] - plain).max() < 0.05


def test_a_value_behind_a_concat_gets_the_scale_that_observing_it_would_give(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    batches = random_feeds(graph, 8, count=2)
    quantize(graph, batches, "batch_num: 2")
    pool = graph.node("pool").quant
    assert pool is not None
    again = fire(tmp_path)
    run_passes(again, "annotate-quant,quantize-weights")
    seen = np.concatenate([outputs_of(again, "cat", feeds).ravel() for feeds in batches])
    assert pool.inputs[0].scale == float(search(seen, IfmrSettings()).scale)


def outputs_of(graph: Graph, name: str, feeds: Feeds) -> np.ndarray:
    graph.outputs = [graph.node(name).output]
    return outputs(graph, feeds)[graph.node(name).output.blob]


def test_a_value_that_is_always_zero_is_refused_with_the_names_of_the_layers(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    batches: list[Feeds] = [{"data": np.zeros((2, 4, 9, 9), np.float32)}]
    with pytest.raises(DiagnosticError, match=r"AM405.*`squeeze`"):
        quantize(graph, batches)


def test_weights_that_are_not_finite_are_all_named(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    for name in ("left", "fc"):
        node = graph.node(name)
        weight = node.weights["weight"].copy()
        weight.flat[3] = np.nan
        node.weights["weight"] = weight
    with pytest.raises(DiagnosticError) as caught:
        run_passes(graph, "annotate-quant,quantize-weights")
    assert [d.code for d in caught.value.diagnostics] == ["AM412", "AM412"]


@pytest.mark.parametrize("channel_wise", [True, False])
def test_weight_scales_are_per_output_channel_or_one(channel_wise: bool, tmp_path: Path) -> None:
    text = data() + conv("up", "data", 4, type="Deconvolution", more="stride: 2")
    graph = make_net(tmp_path, text)
    weight = graph.node("up").weights["weight"].copy()
    policy = f"common_config {{ arq_quantize {{ channel_wise: {str(channel_wise).lower()} }} }}"
    run_passes(graph, "annotate-quant,quantize-weights", policy)
    node = graph.node("up")
    assert node.quant is not None
    assert node.quant.weight is not None
    scale = node.quant.weight.scales["weight"]
    assert scale.shape == ((4,) if channel_wise else (1,))
    trait = linear_trait(node)
    integers = trait.by_output_channel(node, node.weights["weight"]).astype(np.float32).reshape(4, -1)
    floats = trait.by_output_channel(node, weight).astype(np.float32).reshape(4, -1)
    assert np.abs(integers * scale.reshape(-1, 1) - floats).max() <= scale.max() / 2 * 1.0001


def test_each_change_says_which_pass_made_it_and_which_rule_asked_for_it(tmp_path: Path) -> None:
    graph = fire(tmp_path)
    quantize(graph, random_feeds(graph, 1), "batch_num: 1\ncommon_config { ifmr_quantize { num_bits: 8 } }\n")
    changes = graph.node("squeeze").provenance.changes
    assert [change.by for change in changes] == ["annotate-quant", "quantize-weights", "calibrate", "quantize-bias"]
    assert changes[0].rule == "common_config (policy.cfg:2)"
    assert graph.node("squeeze").origin is not None
    assert graph.node("squeeze.quant").provenance.inserted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (data("2 4 4 6 6") + conv("c", "data", 4, more="axis: 2"), "output channels are not on axis 1"),
        (
            data()
            + data(name="more")
            + 'layer { name: "c" type: "Convolution" bottom: "data" bottom: "more" top: "a" top: "b" '
            + "convolution_param { num_output: 4 kernel_size: 3 } }",
            "it has 2 inputs",
        ),
    ],
)
def test_a_layer_without_an_integer_form_is_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, text)
    with pytest.raises(DiagnosticError, match=f"AM511.*layer `c`.*{words}"):
        run_passes(graph, "annotate-quant")
