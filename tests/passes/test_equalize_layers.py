"""Equalized layers: the network computes the same, the ranges of channels do not differ, and quantization gains."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import builtin_ops, op_def
from amctc.dialects.traits import linear_trait
from amctc.driver.passes import build_pipeline
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.passes import PIPELINES
from amctc.policy import Policy
from amctc.runtime.executor import Executor, blob_values, find_blob, graph_inputs
from amctc.source import SourceFile
from amctc.testing import assert_same_numbers, outputs_of
from tests.e2e.real_data import Files
from tests.e2e.test_detection_networks import FACES, PLATES, faces, plates
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import clean, copied, reasons
from tests.quantized import random_feeds, run_passes
from tests.shared_files import needs_assets

EQUALIZED = PIPELINES["ptq"].replace("annotate-quant", "equalize-layers,annotate-quant")
ONE_SCALE = "common_config { arq_quantize { channel_wise: false } }"


def inner(name: str, bottom: str, outputs: int, more: str = "") -> str:
    return layer(name, "InnerProduct", bottom, name, f"inner_product_param {{ num_output: {outputs} {more} }}")


BETWEEN = (
    ("ReLU", ""),
    ("ReLU", "relu_param { negative_slope: 0.25 }"),
    ("PReLU", ""),
    ("AbsVal", ""),
    ("Dropout", ""),
    ("RReLU", ""),
    ("Power", "power_param { scale: -1.5 }"),
    ("Pooling", "pooling_param { kernel_size: 3 stride: 1 pad: 1 }"),
    ("Pooling", "pooling_param { pool: AVE kernel_size: 2 stride: 1 pad: 1 }"),
)
LINEAR = (
    ("Convolution", "pad: 1"),
    ("Convolution", "group: 2"),
    ("Convolution", "group: 4 bias_term: false"),
    ("DepthwiseConv", "pad: 1"),
    ("Deconvolution", ""),
    ("Deconvolution", "group: 2 stride: 2"),
    ("Deconvolution", "group: 4 bias_term: false"),
)
TAILS = (
    lambda bottom: layer("flat", "Flatten", bottom, "flat") + inner("last", "flat", 5),
    lambda bottom: inner("last", bottom, 5, "transpose: true"),
    lambda bottom: (
        layer("shape", "Reshape", bottom, "shape", "reshape_param { shape { dim: 0 dim: 8 dim: -1 dim: 1 } }")
        + inner("last", "shape", 5)
    ),
    lambda bottom: inner("last", bottom, 5) + layer("r", "ReLU", "last", "r") + inner("more", "r", 3),
    lambda bottom: inner("last", bottom, 5, "axis: 2"),
)


def badly_scaled(graph: Graph, seed: int, spread: float = 2.0) -> Graph:
    """Output channels of very different size in every linear layer."""
    rng = np.random.default_rng(seed)
    for node in graph.nodes:
        if op_def(node).linear is not None:
            trait = linear_trait(node)
            rows = trait.by_output_channel(node, node.weights[trait.weight]).astype(np.float32)
            factors = np.exp(rng.normal(scale=spread, size=len(rows))).astype(np.float32)
            node.weights[trait.weight] = trait.from_output_channel(node, rows * factors[:, np.newaxis])
            if trait.bias in node.weights:
                node.weights[trait.bias] = node.weights[trait.bias].astype(np.float32) * factors
    return graph


@settings(deadline=None, max_examples=40)
@given(draw=st.data(), seed=st.integers(0, 1000))
def test_random_networks_compute_what_they_computed(draw: st.DataObject, seed: int) -> None:
    text, bottom = data("2 4 6 6"), "data"
    for number in range(draw.draw(st.integers(1, 5))):
        type, more = draw.draw(st.sampled_from(LINEAR))
        text += conv(f"c{number}", bottom, 4, 2, more, type=type)
        bottom = f"c{number}"
        for index, (kind, parameter) in enumerate(draw.draw(st.lists(st.sampled_from(BETWEEN), max_size=2))):
            text += layer(f"f{number}_{index}", kind, bottom, f"f{number}_{index}", parameter)
            bottom = f"f{number}_{index}"
    text += draw.draw(st.sampled_from(TAILS))(bottom)
    with tempfile.TemporaryDirectory() as folder:
        graph = badly_scaled(make_net(Path(folder), text, seed), seed)
    before = copied(graph)
    clean(graph, "equalize-layers")
    assert_same_numbers(before, graph, tolerance=1e-5)


CAFFE_ROWS = [row for row in builtin_ops().values() if row.dialect == "caffe"]


@pytest.mark.parametrize("name", sorted(row.name for row in CAFFE_ROWS if row.homogeneous is not None))
def test_what_is_called_homogeneous_is_so(name: str, tmp_path: Path) -> None:
    type = name.partition(".")[2]
    parameter = {"Power": "power_param { scale: -1.5 }", "Pooling": "pooling_param { pool: AVE kernel_size: 2 pad: 1 }"}
    graph = make_net(tmp_path, data("2 4 6 6") + layer("f", type, "data", "f", parameter.get(type, "")))
    row = op_def(graph.node("f"))
    assert row.homogeneous is not None and row.homogeneous(graph.node("f"))
    (feeds,) = random_feeds(graph, 0)
    factors = np.array([0.25, 1, 4, 64], np.float32).reshape(1, 4, 1, 1)
    once, scaled = (outputs_of(graph, {"data": feeds["data"] * by})["f"] for by in (np.float32(1), factors))
    np.testing.assert_allclose(scaled, once * factors, rtol=1e-5)


def test_a_power_that_shifts_is_not_homogeneous(tmp_path: Path) -> None:
    shifted = layer("p", "Power", "a", "p", "power_param { shift: 1 }")
    graph = make_net(tmp_path, data() + conv("a", "data", 4) + shifted + conv("b", "p", 4))
    assert "not positively homogeneous" in reasons(clean(graph, "equalize-layers"))["p"]


NET = (
    data("2 3 12 12")
    + conv("a", "data", 8)
    + layer("ra", "ReLU", "a", "ra")
    + conv("dw", "ra", 8, type="DepthwiseConv")
    + layer("rd", "ReLU", "dw", "rd")
    + conv("b", "rd", 16, 1)
    + layer("rb", "ReLU", "b", "rb")
    + layer("pool", "Pooling", "rb", "pool", "pooling_param { kernel_size: 2 stride: 2 }")
    + inner("fc", "pool", 6)
)


def weight_ranges(graph: Graph, name: str, axis: int) -> NDArray[np.float32]:
    """The largest magnitude of each output (0) or input (1) channel of a convolution without groups."""
    weight = np.abs(graph.node(name).weights["weight"].astype(np.float32))
    return np.asarray(weight.max(axis=tuple(other for other in range(weight.ndim) if other != axis)))


def test_channels_have_equal_ranges_in_both_layers(tmp_path: Path) -> None:
    graph = badly_scaled(make_net(tmp_path, NET), 3)
    assert weight_ranges(graph, "a", 0).max() > 50 * weight_ranges(graph, "a", 0).min()
    context = clean(graph, "equalize-layers{rounds=200}")
    assert not context.refusals
    depthwise = weight_ranges(graph, "dw", 0)
    np.testing.assert_allclose(weight_ranges(graph, "a", 0), depthwise, rtol=1e-2)
    np.testing.assert_allclose(weight_ranges(graph, "b", 1), depthwise, rtol=1e-2)


def sqnr(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Signal to noise in dB."""
    noise = float(np.square(wanted.astype(np.float64) - found).sum())
    return 10 * float(np.log10(np.square(wanted.astype(np.float64)).sum() / noise))


def test_badly_scaled_channels_lose_much_less_to_quantization(tmp_path: Path) -> None:
    usual = badly_scaled(make_net(tmp_path, NET), 3)
    before, equalized = copied(usual), copied(usual)
    feeds = random_feeds(before, 1, 2)
    (fresh,) = random_feeds(before, 2)
    wanted = outputs_of(before, fresh)["fc"]
    run_passes(usual, PIPELINES["ptq"], ONE_SCALE, feeds)
    run_passes(equalized, EQUALIZED, ONE_SCALE, feeds)
    lost, kept = (sqnr(wanted, outputs_of(graph, fresh)["fc"]) for graph in (usual, equalized))
    assert kept > lost + 6


def test_a_strength_that_is_measured_is_no_worse_than_none_and_near_the_whole(tmp_path: Path) -> None:
    usual = badly_scaled(make_net(tmp_path, NET.replace("dim: 2", "dim: 16")), 3)
    feeds = random_feeds(usual, 1)
    wanted, found = outputs_of(usual, feeds[0])["fc"], dict[str, float]()
    for strength in ("0", "1", "auto"):
        graph = copied(usual)
        passes = EQUALIZED.replace("equalize-layers", f"equalize-layers{{strength={strength}}}")
        run_passes(graph, passes, ONE_SCALE, feeds)
        found[strength] = sqnr(wanted, outputs_of(graph, feeds[0])["fc"])
    assert found["auto"] > found["0"] + 6
    assert found["auto"] > max(found.values()) - 1


def test_a_strength_between_takes_roots_of_the_factors(tmp_path: Path) -> None:
    before = badly_scaled(make_net(tmp_path, data("2 3 12 12") + conv("a", "data", 8) + conv("b", "a", 4)), 3)
    whole, half, none = copied(before), copied(before), copied(before)
    for graph, strength in ((whole, "1"), (half, "0.5"), (none, "0")):
        clean(graph, f"equalize-layers{{strength={strength}}}")
    ratios = [weight_ranges(before, "a", 0) / weight_ranges(graph, "a", 0) for graph in (whole, half, none)]
    np.testing.assert_allclose(ratios[1] ** 2, ratios[0], rtol=1e-5)
    np.testing.assert_allclose(ratios[2], 1)


@pytest.mark.parametrize("strength", ["1.1", "-0.1", "nan", "half"])
def test_other_strengths_are_refused(strength: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM503"):
        clean(make_net(tmp_path, NET), f"equalize-layers{{strength={strength}}}")


def test_a_strength_is_not_measured_without_data(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM281"):
        clean(make_net(tmp_path, NET), "equalize-layers{strength=auto}")


def test_layers_that_share_their_weights_stay(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("1 4 8 8") + conv("a", "data", 4) + conv("b", "a", 4) + conv("c", "b", 4))
    graph.node("b").weights["weight"] = graph.node("a").weights["weight"]
    before = copied(graph)
    told = reasons(clean(graph, "equalize-layers"))
    assert told["a"] == "`a` shares its weights with another layer" and graph == before


def test_a_policy_may_ask_for_it() -> None:
    policy = Policy.from_text(
        SourceFile("p.cfg", 'pass { name: "equalize-layers" option { key: "rounds" value: "3" } }')
    )
    text = str(build_pipeline("ptq", policy.passes))
    assert text.startswith("fuse-batchnorm,depthwise-affine,equalize-layers{rounds=3},annotate-quant,")
    policy = Policy.from_text(SourceFile("p.cfg", 'pass { name: "equalize-layers" } pass { name: "replace-relu6" }'))
    text = str(build_pipeline("ptq", policy.passes))
    assert text.startswith("fuse-batchnorm,depthwise-affine,replace-relu6,equalize-layers,annotate-quant,")


@needs_assets
@pytest.mark.parametrize(("files", "blob", "photographs"), [(FACES, "scores", faces), (PLATES, "ssd0_concat1", plates)])
def test_a_depthwise_network_with_one_scale_a_layer_gains(
    files: Files, blob: str, photographs: Callable[[], NDArray[np.float32]]
) -> None:
    images = photographs()[:3]
    before = load_model(*files)
    (source,) = graph_inputs(before)
    feeds = [{source: image[np.newaxis]} for image in images]
    wanted = blob_of(before, blob, feeds)
    found: list[float] = []
    for pipeline in (PIPELINES["ptq"], EQUALIZED, PIPELINES["ptq-equalized"]):
        graph = load_model(*files)
        run_passes(graph, pipeline, ONE_SCALE, feeds)
        found.append(sqnr(wanted, blob_of(graph, blob, feeds)))
    usual, equalized, corrected = found
    assert usual < equalized < corrected


def blob_of(graph: Graph, blob: str, batches: Sequence[Mapping[str, NDArray[np.float32]]]) -> NDArray[np.float32]:
    """A blob in every batch."""
    value = find_blob(blob_values(graph), blob)
    executor = Executor(graph, fetch=[value])
    return np.stack([executor.run(feeds)[value] for feeds in batches])
