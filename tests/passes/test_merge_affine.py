"""merge-affine: consecutive maps of the channels become one Scale, exact to the last bits, and can still be folded."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from amctc.ir import Graph
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, clean, names, reasons, same_weights
from tests.quantized import outputs, random_feeds, run_passes

KINDS = {
    "BatchNorm": "batch_norm_param { use_global_stats: true }",
    "Scale": "scale_param { bias_term: true }",
    "Bias": "",
    "Power": "power_param { scale: 0.5 shift: -2 }",
}


def chain(*kinds: str, bottom: str = "data") -> str:
    blobs = [bottom, *(f"m{i}" for i in range(len(kinds)))]
    pairs = enumerate(zip(kinds, pairwise(blobs), strict=True))
    return "".join(layer(f"m{i}", kind, source, top, KINDS[kind]) for i, (kind, (source, top)) in pairs)


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_two_maps_become_one_scale(first: str, second: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + chain(first, second))
    after, context = check_same(graph, "merge-affine", tolerance=1e-6)
    assert names(after) == ["data", "m0"]
    assert after.node("m0").op == "caffe.Scale"
    assert after.node("m0").provenance.absorbed == ("m1",)
    assert not context.refusals


def test_the_arithmetic_is_that_of_float64_rounded_once(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + chain("Scale", "Power", "Scale"))
    one, three = graph.node("m0").weights, graph.node("m2").weights
    (a1, b1), (a3, b3) = ([w[role].astype(np.float64) for role in ("scale", "bias")] for w in (one, three))
    clean(graph, "merge-affine")
    found = graph.node("m0").weights
    np.testing.assert_array_equal(found["scale"], (a3 * (0.5 * a1)).astype(np.float32))
    np.testing.assert_array_equal(found["bias"], (a3 * (0.5 * b1 - 2) + b3).astype(np.float32))


def test_no_weights_are_written_into(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + chain("Scale", "Bias", "Scale"))
    before, shared = same_weights(graph), {node.name: node.weights for node in graph.nodes}
    clean(graph, "merge-affine")
    for name, arrays in before.items():
        for role, array in arrays.items():
            np.testing.assert_array_equal(shared[name][role], array)


def test_without_a_shift_the_scale_has_no_bias(tmp_path: Path) -> None:
    text = layer("a", "Scale", "data", "a") + layer("b", "Scale", "a", "b")
    after, _ = check_same(make_net(tmp_path, data() + text), "merge-affine", tolerance=1e-6)
    assert after.node("a").attrs == {}
    assert list(after.node("a").weights) == ["scale"]


def test_what_is_said_of_training_goes_with_the_blobs(tmp_path: Path) -> None:
    specs = "param { lr_mult: 0 } " * 3
    text = layer("a", "BatchNorm", "data", "a", KINDS["BatchNorm"] + specs) + layer("b", "Scale", "a", "b")
    graph = make_net(tmp_path, data() + text)
    clean(graph, "merge-affine")
    assert "param" not in graph.node("a").attrs


def test_behind_a_convolution_the_merged_scale_is_folded(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + chain("BatchNorm", "Scale", "Power", "Bias", bottom="c")
    graph = make_net(tmp_path, text + layer("relu", "ReLU", "m3", "m3"))
    after, _ = check_same(graph, "merge-affine,fuse-batchnorm", tolerance=1e-5)
    assert names(after) == ["data", "c", "relu"]
    assert after.node("c").provenance.absorbed == ("m0", "m1", "m2", "m3")


REFUSED = {
    "its `power` is 2, not 1": layer("x", "Power", "data", "x", "power_param { power: 2 }")
    + layer("y", "Scale", "x", "y"),
    "not along the channels": layer("x", "Scale", "data", "x", "scale_param { axis: 2 }")
    + layer("y", "Scale", "x", "y"),
    "statistics of each batch": layer("x", "BatchNorm", "data", "x", "batch_norm_param { use_global_stats: false }")
    + layer("y", "Scale", "x", "y"),
    "its second input": layer("x", "Scale", "data data", "x", "scale_param { axis: 0 }")
    + layer("y", "Scale", "x", "y"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_map_of_the_channels_is_refused(reason: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + REFUSED[reason])
    after, context = check_same(graph, "merge-affine")
    assert after == graph
    assert reason in reasons(context)["x"]


def test_a_blob_without_channels_is_refused(tmp_path: Path) -> None:
    text = layer("x", "Power", "data", "x") + layer("y", "Power", "x", "y")
    after, context = check_same(make_net(tmp_path, data("4") + text), "merge-affine")
    assert set(reasons(context).values()) == {"its input has no channels"}
    assert "y" in after


def test_an_unknown_shape_is_refused(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + chain("Scale", "Bias"))
    for node in graph.nodes:
        node.output.shape = None
    assert set(reasons(clean(graph, "merge-affine")).values()) == {"the shape of its input is not known"}


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + chain("Scale", "Scale"))
    for node in graph.nodes[1:]:
        node.weights["scale"] = np.full(3, 1e30, np.float32)
    context = clean(graph, "merge-affine")
    assert reasons(context) == {"m0": "the numbers of the merged layer do not fit into float32"}


def with_conv(folder: Path, *kinds: str) -> Graph:
    return make_net(folder, data() + conv("c", "data", 4) + layer("r", "ReLU", "c", "r") + chain(*kinds, bottom="r"))


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("do_fusion: false", []),
        ('skip_fusion_layers: "m1"', ["m1"]),
        ('override_layer_configs { layer_name: "m0" calibration_config { ifmr_quantize { } } }', ["m0"]),
    ],
)
def test_the_policy_decides(policy: str, told: list[str], tmp_path: Path) -> None:
    graph = with_conv(tmp_path, "BatchNorm", "Scale")
    context = run_passes(graph, "merge-affine", policy)
    assert {"m0", "m1"} <= set(names(graph))
    assert list(reasons(context)) == told
    run_passes(graph, "merge-affine")
    assert "m1" not in graph


def test_a_power_that_is_quantized_by_default_stays(tmp_path: Path) -> None:
    graph = with_conv(tmp_path, "Scale", "Power")
    context = run_passes(graph, "merge-affine")
    assert "m1" in graph
    assert reasons(context)["m1"] == "it is to be quantized (built-in default of Power)"
    run_passes(graph, "merge-affine", 'skip_layers: "m1"')
    assert "m1" not in graph


def test_a_layer_that_shares_its_weights_is_merged_and_the_other_is_not_touched(tmp_path: Path) -> None:
    graph = make_net(
        tmp_path, data() + layer("r", "ReLU", "data", "r") + chain("Scale", "Bias") + layer("o", "Scale", "r", "o")
    )
    graph.node("o").weights["scale"] = graph.node("m0").weights["scale"]
    (feeds,) = random_feeds(graph, seed=2)
    before = outputs(graph, feeds)
    clean(graph, "merge-affine")
    np.testing.assert_array_equal(outputs(graph, feeds)["o"], before["o"])
