"""depthwise-affine: left-over chains become one DepthwiseConv, when their data is to be quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.ir import Graph
from tests.nets import data, layer, make_net
from tests.quantized import outputs, quantize, random_feeds, run_passes

ON = "override_layer_types { layer_type: '%s' calibration_config { ifmr_quantize { num_bits: 8 } } }"
ALL_ON = "".join(ON % kind for kind in ("BatchNorm", "Scale", "Bias"))
BN = "batch_norm_param { use_global_stats: true }"


def net(tmp_path: Path) -> Graph:
    text = (
        data()
        + layer("pool", "Pooling", "data", "p", "pooling_param { pool: MAX kernel_size: 2 }")
        + layer("bn", "BatchNorm", "p", "p", BN)
        + layer("scale", "Scale", "p", "p", "scale_param { bias_term: true }")
        + layer("bias", "Bias", "p", "p")
        + layer("relu", "ReLU", "p", "out")
    )
    return make_net(tmp_path, text)


def test_a_chain_becomes_one_layer_that_computes_the_same(tmp_path: Path) -> None:
    graph = net(tmp_path)
    (feeds,) = random_feeds(graph, seed=2)
    before = outputs(graph, feeds)["out"]
    run_passes(graph, "depthwise-affine", ALL_ON)
    assert [(node.name, node.type) for node in graph.nodes] == [
        ("data", "Input"),
        ("pool", "Pooling"),
        ("bn_depthwise", "DepthwiseConv"),
        ("relu", "ReLU"),
    ]
    new = graph.node("bn_depthwise")
    assert new.provenance.inserted
    assert new.provenance.absorbed == ("bn", "scale", "bias")
    assert new.output.blob == "p"
    after = outputs(graph, feeds)["out"]
    assert np.abs(after - before).max() <= 2e-6 * np.abs(before).max()


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ("", ["bn", "scale", "bias"]),
        (ON % "BatchNorm", ["bn_depthwise", "scale", "bias"]),
        (ON % "Scale", ["bn", "scale_depthwise", "bias"]),
        (ON % "Scale" + ON % "Bias", ["bn", "scale_depthwise"]),
    ],
)
def test_only_layers_that_the_policy_switches_on_are_turned(policy: str, left: list[str], tmp_path: Path) -> None:
    graph = net(tmp_path)
    run_passes(graph, "depthwise-affine", policy)
    assert [node.name for node in graph.nodes if node.name not in ("data", "pool", "relu")] == left


def test_a_scale_of_two_inputs_or_another_axis_stays(tmp_path: Path) -> None:
    text = (
        data("2 3 4 4")
        + data("2 3 4 4", "other")
        + layer("gate", "Scale", "data other", "g", "scale_param { axis: 0 }")
        + layer("rows", "Scale", "g", "out", "scale_param { axis: 2 }")
    )
    graph = make_net(tmp_path, text)
    context = run_passes(graph, "depthwise-affine", ALL_ON.replace(ON % "BatchNorm", "").replace(ON % "Bias", ""))
    assert [node.type for node in graph.nodes] == ["Input", "Input", "Scale", "Scale"]
    assert {refusal.layer for refusal in context.refusals} == {"gate", "rows"}


def test_the_new_layer_is_quantized_with_weights(tmp_path: Path) -> None:
    graph = net(tmp_path)
    quantize(graph, random_feeds(graph, seed=3, count=2), "batch_num: 2\n" + ALL_ON)
    new = graph.node("bn_depthwise")
    assert new.weights["weight"].dtype == np.int8
    assert new.weights["bias"].dtype == np.int32
    assert new.quant is not None
    assert new.quant.weight is not None
    assert new.inputs[0].producer.op == "quant.Quantize"
