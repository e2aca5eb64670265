"""Rows of GE's ops that are like Caffe's layers: channels last, what passes ask of them, what cannot be run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.ge.slots import note
from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.ir.node import Shape
from amctc.runtime.executor import Executor
from amctc.targets.ge.crossing import in_ge
from amctc.text.plain import Plain
from tests.ge_files import assert_equal, channels_last, run, through_a_file, with_channels_last
from tests.nets import data, layer, make_net
from tests.passes.clean_ups import clean
from tests.quantized import random_feeds

IMAGE = data("2 6 4 8")
REGIONS = data("3 5", "rois")
ONE = np.ones(1, np.float32)
ROIS = np.array([[0, 1, 2, 9, 8], [1, 0, 0, 13, 9], [1, 5, 3, 6, 4]], np.float32)

SPATIAL = {
    "Pooling": (IMAGE, "data", "pooling_param { kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0 }"),
    "PReLU": (IMAGE, "data", ""),
    "BatchNorm": (IMAGE, "data", ""),
    "LRN": (IMAGE, "data", "lrn_param { local_size: 3 alpha: 0.5 }"),
    "MVN": (IMAGE, "data", "mvn_param { across_channels: false }"),
    "Normalize": (IMAGE, "data", "norm_param { across_spatial: false channel_shared: false }"),
    "ShuffleChannel": (IMAGE, "data", "shuffle_channel_param { group: 3 }"),
    "Reorg": (IMAGE, "data", "reorg_param { stride: 2 }"),
    "Upsample": (IMAGE, "data", "upsample_param { stride_h: 2 stride_w: 3 scale: 0.5 }"),
    "SPP": (IMAGE, "data", "spp_param { pyramid_height: 2 }"),
    "ReLU": (IMAGE, "data", ""),
    "ROIPooling": (IMAGE + REGIONS, "data rois", "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"),
    "ROIAlign": (IMAGE + REGIONS, "data rois", "roi_align_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"),
    "PSROIPooling": (
        data("2 12 5 7") + REGIONS,
        "data rois",
        "psroi_pooling_param { output_dim: 3 group_size: 2 spatial_scale: 0.5 }",
    ),
}
"""Layers that see channels or places of images: their inputs, bottoms and parameters."""


@pytest.mark.parametrize("type", SPATIAL)
def test_an_op_on_images_is_the_same_with_the_channels_last(type: str, tmp_path: Path) -> None:
    inputs, bottoms, more = SPATIAL[type]
    graph = in_ge(make_net(tmp_path, inputs + layer("out", type, bottoms, "out", more)))
    feeds: dict[str, NDArray[Any]] = {**random_feeds(graph, 0)[0], "rois": ROIS}
    wanted = [channels_last(array) for array in run(graph, feeds)]
    moved = with_channels_last(graph)
    assert_equal(run(moved, {name: channels_last(array) for name, array in feeds.items()}), wanted)
    assert [value.shape for value in moved.outputs] == [array.shape for array in wanted]


@pytest.mark.parametrize("type", ["Scale", "Bias"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_an_axis_is_one_of_the_data_as_they_lie(type: str, axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 6)).astype(np.float32)
    by = np.arange(1, 1 + x.shape[axis]).astype(np.float32)
    graph = one_op(type, x.shape, {"axis": axis}, {type.lower(): by}, format="NHWC")
    spread = by.reshape([-1 if number == axis % 4 else 1 for number in range(4)])
    (found,) = run(graph, {"x": x})
    np.testing.assert_array_equal(found, x * spread if type == "Scale" else x + spread)


def one_op(
    type: str,
    shape: Shape,
    attrs: Mapping[str, Plain] | None = None,
    weights: Mapping[str, NDArray[Any]] | None = None,
    outputs: int = 1,
    **about: Plain | None,
) -> Graph:
    """A graph of one op that reads `x`, and gives `out`."""
    graph = Graph("net")
    made = graph.add("x", "ge.Data", (), ["x"])
    note(made, shape=shape, dtype="float32")
    names = ["out", *(f"out:{number}" for number in range(1, outputs))]
    op = graph.add("out", f"ge.{type}", [made.output], names, attrs=attrs or {}, weights=weights or {})
    note(op, **about)
    graph.outputs = [op.outputs[0]]
    annotate_shapes(graph)
    return graph


def result(graph: Graph) -> NDArray[Any]:
    x = np.random.default_rng(0).normal(size=graph.node("x").output.shape or ()).astype(np.float32)
    (found,) = run(graph, {"x": x})
    return np.asarray(found)


# -- what is quantized -----------------------------------------------------------------------------


def by_default(type: str, attrs: Mapping[str, Plain], weights: Mapping[str, NDArray[Any]] | None = None) -> bool | None:
    """Whether a node is quantized by default; None for one that never is."""
    graph = Graph("net")
    x = graph.add("x", "ge.Data", (), ["x"])
    found = op_def(graph.add("out", f"ge.{type}", [x.output], ["out"], attrs=attrs, weights=weights or {})).quantizable
    return None if found is None else found.on_by_default


def test_only_a_mean_of_windows_is_quantized_by_default_among_the_poolings() -> None:
    assert by_default("Pooling", {"mode": 1}) is True
    assert by_default("Pooling", {"mode": 0}) is False
    assert by_default("Pooling", {}) is False
    assert by_default("Pooling", {"mode": 1, "global_pooling": True}) is None


def test_only_a_sum_may_be_quantized_among_the_eltwise_ops() -> None:
    assert [by_default("Eltwise", attrs) for attrs in ({}, {"mode": 1}, {"mode": 0}, {"mode": 2})] == [
        False,
        False,
        None,
        None,
    ]


def test_linear_ops_are_quantized_in_the_forms_that_ge_quantizes() -> None:
    filter = {"weight": np.zeros((4, 4, 3, 3), np.float32)}
    assert by_default("Conv2D", {"dilations": (1, 1, 2, 2)}, filter) is True
    assert by_default("Deconvolution", {}, filter) is True
    assert by_default("Deconvolution", {"dilations": (1, 1, 2, 2)}, filter) is None
    rows = {"weight": np.zeros((4, 6), np.float32)}
    assert by_default("FullyConnection", {"num_output": 4}, rows) is True
    assert by_default("FullyConnection", {"num_output": 4, "transpose": True}, rows) is None
    assert by_default("FullyConnection", {"num_output": 4, "axis": 2}, rows) is None
    assert by_default("Conv2D", {}) is None


@pytest.mark.parametrize("type", ["ConcatD", "LeakyRelu", "SoftmaxV2", "Reshape", "LRN", "LSTM", "Scale", "Copy"])
def test_other_ops_are_never_quantized(type: str) -> None:
    assert by_default(type, {}) is None


# -- what passes make of them ----------------------------------------------------------------------


def passed(text: str, passes: str, folder: Path) -> Graph:
    """The net in GE's words, read from a file, after these passes, which must not change what it gives."""
    graph = through_a_file(make_net(folder, text), folder)
    (feeds,) = random_feeds(graph, 1)
    before = run(graph, feeds)
    clean(graph, passes)
    for found, wanted in zip(run(through_a_file(graph, folder), feeds), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * float(np.abs(wanted).max()))
    return graph


def types(graph: Graph) -> list[str]:
    return [node.type for node in graph.nodes if node.type != "Data"]


def test_two_reshapes_become_one(tmp_path: Path) -> None:
    text = IMAGE + layer("flat", "Flatten", "data", "flat")
    text += layer("back", "Reshape", "flat", "back", "reshape_param { shape { dim: 0 dim: 12 dim: -1 } }")
    graph = passed(text, "merge-reshape", tmp_path)
    assert types(graph) == ["Reshape"]
    assert graph.nodes[-1].weights["shape"].dtype == np.int64


def test_two_permutations_become_one(tmp_path: Path) -> None:
    text = IMAGE + layer("a", "Permute", "data", "a", "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    text += layer("b", "Permute", "a", "b", "permute_param { order: 1 order: 0 order: 2 order: 3 }")
    graph = passed(text, "merge-permute", tmp_path)
    assert (types(graph), graph.nodes[-1].attrs["order"]) == (["Permute"], (2, 0, 3, 1))


def test_maps_of_channels_become_one_scale(tmp_path: Path) -> None:
    text = (
        IMAGE
        + layer("bn", "BatchNorm", "data", "bn")
        + layer("s", "Scale", "bn", "s", "scale_param { bias_term: true }")
    )
    text += layer("p", "Power", "s", "p", "power_param { scale: 0.5 shift: 1 }") + layer("b", "Bias", "p", "b")
    graph = passed(text, "merge-affine", tmp_path)
    assert (types(graph), list(graph.nodes[-1].weights)) == (["Scale"], ["scale", "bias"])


def test_a_scale_made_with_the_channels_last_runs_along_them() -> None:
    rng = np.random.default_rng(0)
    mean, variance = (rng.uniform(0.5, 2, 6).astype(np.float32) for _ in range(2))
    weights = {"mean": mean, "variance": variance, "momentum": ONE}
    graph = one_op("BNInference", (2, 4, 8, 6), {}, weights, format="NHWC")
    wanted = result(graph)
    node, trait = graph.node("out"), op_def(graph.node("out")).affine
    assert trait is not None
    assert trait.become is not None
    assert trait.axis(node) == 3
    found = trait.coefficients(node, 6)
    assert not isinstance(found, str)
    trait.become(node, found[0].astype(np.float32), found[1].astype(np.float32))
    assert (node.op, op_def(node).affine is not None, node.attrs["axis"]) == ("ge.Scale", True, -1)
    np.testing.assert_allclose(result(graph), wanted, rtol=0, atol=1e-5)


def test_a_relu6_may_become_a_relu() -> None:
    graph = one_op("Relu6", (2, 3))
    trait = op_def(graph.node("out")).bounded
    assert trait is not None
    assert trait.bound(graph.node("out")) == 6
    trait.become(graph.node("out"))
    assert graph.node("out").op == "ge.Relu"


def test_copies_are_folded(tmp_path: Path) -> None:
    text = (
        IMAGE
        + layer("two", "Split", "data", "a", 'top: "b"')
        + layer("r", "ReLU", "a", "r")
        + layer("s", "TanH", "b", "s")
    )
    assert sorted(types(passed(text, "fold-split", tmp_path))) == ["LeakyRelu", "Tanh"]


def test_an_op_on_a_constant_alone_is_run(tmp_path: Path) -> None:
    text = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 6 } } }'
    graph = make_net(tmp_path, text + layer("two", "Split", "p", "a", 'top: "b"') + layer("r", "TanH", "a", "r"))
    again = through_a_file(graph, tmp_path)
    assert_equal(run(again, {}), run(graph, {}))
    wanted = run(again, {})
    clean(again, "fold-split,remove-identity")
    assert_equal(run(again, {}), wanted)


# -- forms that Caffe's layers do not have ---------------------------------------------------------


def test_a_batch_norm_with_a_scale_of_its_own_is_one_map() -> None:
    rng = np.random.default_rng(0)
    mean, variance, scale, offset = (rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
    weights = {
        "mean": mean,
        "variance": variance,
        "momentum": np.array([2], np.float32),
        "scale": scale,
        "offset": offset,
    }
    graph = one_op("BNInference", (2, 3, 4), {"epsilon": 0.125}, weights)
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    (found,) = run(graph, {"x": x})
    a = scale / np.sqrt(variance / 2 + 0.125)
    wanted = (x - mean[:, None] / 2) * a[:, None] + offset[:, None]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 2, 3), (1, 2), (1, 2, -1)])
def test_the_last_size_of_a_split_may_be_left_open(sizes: tuple[int, ...]) -> None:
    graph = one_op("SplitVD", (2, 6), {"size_splits": sizes, "split_dim": 1, "num_split": 3}, outputs=3)
    graph.outputs = list(graph.node("out").outputs)
    assert [value.shape for value in graph.outputs] == [(2, 1), (2, 2), (2, 3)]
    found = Executor(graph).run({"x": np.arange(12, dtype=np.float32).reshape(2, 6)})
    assert [array[0].tolist() for array in found.values()] == [[0], [1, 2], [3, 4, 5]]


def test_flatten_makes_two_axes() -> None:
    assert result(one_op("Flatten", (2, 3, 4, 5), {"axis": 2})).shape == (6, 20)
    assert result(one_op("FlattenV2", (2, 3, 4, 5), {"axis": 1, "end_axis": 2})).shape == (2, 12, 5)


@pytest.mark.parametrize(("output", "axis"), [(0, 1), (1, 1), (0, 10000)])
def test_arg_max_gives_the_one_of_its_outputs_that_is_read(output: int, axis: int) -> None:
    attrs: dict[str, Plain] = {"axis": axis, "out_max_val": True, "topk": 2}
    graph = one_op("ArgMaxWithK", (2, 5, 3), attrs, outputs=2)
    graph.outputs = [graph.node("out").outputs[output]]
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    (found,) = run(graph, {"x": x})
    if axis == 10000:
        np.testing.assert_array_equal(found[:, 0], np.argsort(-x.reshape(2, -1))[:, :2])
    elif output:
        np.testing.assert_array_equal(found, -np.sort(-x, axis=1)[:, :2])
    else:
        np.testing.assert_array_equal(found, np.argsort(-x, axis=1)[:, :2])


BN = {"mean": ONE, "variance": ONE, "momentum": ONE}


CONV: Mapping[str, Plain] = {"strides": (1, 1, 1, 1), "pads": (0, 0, 0, 0)}

MISTAKES: tuple[tuple[str, Shape, Mapping[str, Plain], Mapping[str, NDArray[Any]], int, str, str], ...] = (
    ("Elu", (2,), {"scale": 2.0}, {}, 1, "", "only 1 is supported"),
    ("SoftmaxV2", (2, 3), {"axes": (0, 1)}, {}, 1, "", "several axes"),
    ("BNInference", (2, 1), {"use_global_stats": False}, BN, 1, "", "without `use_global_stats`"),
    ("BNInference", (2, 1), {}, {"mean": ONE, "variance": ONE}, 1, "", "needs a constant `momentum`"),
    ("PRelu", (2, 3), {}, {}, 1, "", "needs a constant `weight`"),
    ("LRN", (1, 2, 3, 3), {"norm_region": "NOWHERE"}, {}, 1, "", "`norm_region` must be one of"),
    ("Normalize", (1, 2, 3, 3), {}, {"x2": np.ones(2, np.float32)}, 1, "", "needs one number as its `x2`"),
    ("Reshape", (4,), {}, {"shape": np.ones(40, np.int64)}, 1, "", "at most 32 whole numbers"),
    ("Reshape", (4,), {}, {"shape": ONE}, 1, "", "at most 32 whole numbers"),
    ("SplitVD", (2, 6), {"size_splits": (1, 2, 4), "split_dim": 1, "num_split": 3}, {}, 3, "", "7 in all"),
    ("SplitVD", (2, 6), {"size_splits": (1,), "split_dim": 1, "num_split": 3}, {}, 3, "", "3 outputs"),
    ("SplitVD", (2, 6), {"size_splits": (6,), "split_dim": 7, "num_split": 1}, {}, 1, "", "is outside"),
    ("Crop", (1, 2, 3, 3), {"offsets": (0,)}, {}, 1, "", "needs an input `size`"),
    ("Eltwise", (2, 3), {"N": 1}, {}, 1, "", "must read at least 2 values"),
    ("PriorBox", (1, 2, 3, 3), {}, {}, 1, "NHWC", "layout NHWC"),
    ("ShuffleChannel", (1, 2, 3, 3), {"group": -1}, {}, 1, "", "`group`"),
    ("Upsample", (1, 2, 3, 3), {"stride_h": "x"}, {}, 1, "", "`stride_h` must be a whole number"),
    ("Reduction", (2, 3), {"operation": 9}, {}, 1, "", "`operation`"),
    ("TileWithAxis", (2, 3), {"axis": 1}, {}, 1, "", "has no `tiles`"),
    ("LSTM", (2, 3), {"num_output": 1}, {}, 1, "", "needs an input `cont`"),
    ("Scale", (2, 3, 4, 5), {"axis": 4}, {"scale": ONE}, 1, "NHWC", "`axis` 4 is outside"),
    ("FullyConnection", (2, 6), {"num_output": 4}, {"weight": np.ones((5, 6), np.float32)}, 1, "", "does not fit"),
    ("FullyConnection", (2, 6), {"num_output": -1}, {"weight": np.ones((5, 6), np.float32)}, 1, "", "does not fit"),
    ("Conv2D", (1, 2, 5, 5), CONV, {"weight": np.ones((4, 3, 3, 3), np.float32)}, 1, "", "cannot run it"),
    ("LRN", (4,), {}, {}, 1, "NHWC", "has no layout NHWC"),
)
"""A type, the shape of its input, attributes, constants, the number of its outputs, its layout, words of the reason."""


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake[0]}: {mistake[-1]}")
def test_what_cannot_be_run_says_why(mistake: Any) -> None:
    type, shape, attrs, weights, outputs, format, words = mistake
    with pytest.raises(DiagnosticError) as caught:
        result(one_op(type, shape, attrs, weights, outputs, format=format or None))
    (found,) = caught.value.diagnostics
    assert found.code in ("AM438", "AM320", "AM437")
    assert words in found.message


def test_places_and_values_are_not_both_given() -> None:
    graph = one_op("ArgMaxWithK", (2, 5), {"axis": 1, "out_max_val": True}, outputs=2)
    graph.outputs = list(graph.node("out").outputs)
    with pytest.raises(DiagnosticError, match="both read"):
        result(graph)
