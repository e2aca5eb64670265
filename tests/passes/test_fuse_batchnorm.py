"""fuse-batchnorm: what is folded, what is not and why, and that the net still computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.ir import Graph
from tests.nets import conv, data, layer, make_net
from tests.quantized import outputs, random_feeds, run_passes

BN = "batch_norm_param { use_global_stats: true }"
BIASED = "scale_param { bias_term: true }"


def chain(bottom: str) -> str:
    """BatchNorm, Scale and Bias in place behind a blob."""
    return (
        layer("bn", "BatchNorm", bottom, bottom, BN)
        + layer("scale", "Scale", bottom, bottom, BIASED)
        + layer("bias", "Bias", bottom, bottom)
    )


def linear_layers() -> dict[str, str]:
    return {
        "convolution": conv("c", "data", 4),
        "convolution without bias": conv("c", "data", 4, more="bias_term: false"),
        "grouped convolution": conv("c", "data", 6, more="group: 3"),
        "depthwise": conv("c", "data", 3, type="DepthwiseConv", more="bias_term: false"),
        "deconvolution": conv("c", "data", 5, type="Deconvolution", more="stride: 2"),
        "grouped deconvolution": conv("c", "data", 6, type="Deconvolution", more="group: 3 bias_term: false"),
        "inner product": layer("c", "InnerProduct", "data", "c", "inner_product_param { num_output: 7 }"),
        "transposed inner product": layer(
            "c", "InnerProduct", "data", "c", "inner_product_param { num_output: 7 transpose: true bias_term: false }"
        ),
    }


@pytest.mark.parametrize("name", list(linear_layers()))
def test_a_folded_chain_computes_what_it_computed_before(name: str, tmp_path: Path) -> None:
    text = data() + linear_layers()[name] + chain("c") + layer("relu", "ReLU", "c", "c")
    graph = make_net(tmp_path, text)
    (feeds,) = random_feeds(graph, seed=1)
    before = outputs(graph, feeds)["c"]
    context = run_passes(graph, "fuse-batchnorm")
    assert [node.name for node in graph.nodes] == ["data", "c", "relu"]
    assert graph.node("c").provenance.absorbed == ("bn", "scale", "bias")
    assert not context.refusals
    after = outputs(graph, feeds)["c"]
    assert np.abs(after - before).max() <= 2e-6 * np.abs(before).max()


def test_a_chain_that_begins_with_scale_is_folded_too(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + layer("scale", "Scale", "c", "out"))
    (feeds,) = random_feeds(graph, seed=1)
    before = outputs(graph, feeds)["out"]
    run_passes(graph, "fuse-batchnorm")
    assert [node.name for node in graph.nodes] == ["data", "c"]
    assert np.allclose(outputs(graph, feeds)["out"], before, rtol=0, atol=2e-6 * np.abs(before).max())


def net_with(more: str, tmp_path: Path) -> Graph:
    return make_net(tmp_path, data() + conv("c", "data", 4) + more)


@pytest.mark.parametrize(
    ("more", "left"),
    [
        (layer("scale", "Scale", "c", "out", "scale_param { axis: 2 num_axes: 1 }"), "scale"),
        (layer("scale", "Scale", "c", "out", "scale_param { num_axes: 2 }"), "scale"),
        (layer("bn", "BatchNorm", "c", "out", "batch_norm_param { use_global_stats: false }"), "bn"),
        (layer("bias", "Bias", "c", "out", "bias_param { axis: 0 num_axes: 1 }"), "bias"),
    ],
)
def test_a_layer_that_is_no_map_of_channels_stays_and_the_reason_is_kept(more: str, left: str, tmp_path: Path) -> None:
    graph = net_with(more, tmp_path)
    context = run_passes(graph, "fuse-batchnorm")
    assert left in graph
    (refusal,) = context.refusals
    assert (refusal.by, refusal.layer) == ("fuse-batchnorm", left)
    assert refusal.reason


def test_axis_minus_three_of_a_4d_blob_is_the_channel_axis(tmp_path: Path) -> None:
    graph = net_with(layer("scale", "Scale", "c", "out", "scale_param { axis: -3 }"), tmp_path)
    run_passes(graph, "fuse-batchnorm")
    assert "scale" not in graph


def test_a_blob_that_somebody_else_reads_is_not_folded_into(tmp_path: Path) -> None:
    graph = net_with(
        layer("scale", "Scale", "c", "s") + layer("relu", "ReLU", "c", "r") + layer("sum", "Eltwise", "s r", "out"),
        tmp_path,
    )
    run_passes(graph, "fuse-batchnorm")
    assert "scale" in graph


@pytest.mark.parametrize(
    ("policy", "absorbed"),
    [
        ("do_fusion: false", ()),
        ('skip_fusion_layers: "c"', ()),
        ('skip_fusion_layers: "bn"', ()),
        ('skip_fusion_layers: "scale"', ("bn",)),
        ("do_fusion: true", ("bn", "scale", "bias")),
    ],
)
def test_the_policy_decides_what_is_fused(policy: str, absorbed: tuple[str, ...], tmp_path: Path) -> None:
    graph = net_with(chain("c"), tmp_path)
    run_passes(graph, "fuse-batchnorm", policy)
    assert graph.node("c").provenance.absorbed == absorbed


def test_a_convolution_along_another_axis_is_left_alone(tmp_path: Path) -> None:
    text = data("2 4 4 6 6") + conv("c", "data", 4, more="axis: 2") + layer("scale", "Scale", "c", "out")
    graph = make_net(tmp_path, text)
    context = run_passes(graph, "fuse-batchnorm")
    assert "scale" in graph
    (refusal,) = context.refusals
    assert "not on axis 2" in refusal.reason
