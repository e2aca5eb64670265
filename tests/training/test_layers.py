"""Gradients that no recorded figure covers, against differences of the loss, and the conventions of Caffe's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from amctc.ir import Graph
from amctc.runtime.executor import run_graph
from amctc.training.network import Network
from tests.nets import data, layer
from tests.training.nets import read_net

RNG = np.random.default_rng(4)
LABELS = np.array([0, 2, 1, 2], np.float32)
SCORES = RNG.standard_normal((4, 3)).astype(np.float32)
LABELLED = data("4 3", "x") + data("4", "label")
CHANCES = layer("p", "Softmax", "x", "p")

LOSSES = {
    "softmax, ignored": layer("l", "SoftmaxWithLoss", "x label", "l", "loss_param { ignore_label: 1 }"),
    "infogain": data("1 1 3 3", "h") + layer("l", "InfogainLoss", "x label h", "l"),
    "infogain, ignored": data("1 1 3 3", "h")
    + layer("l", "InfogainLoss", "x label h", "l", "loss_param { ignore_label: 2 normalization: FULL }"),
    "multinomial": CHANCES + layer("l", "MultinomialLogisticLoss", "p label", "l"),
    "hinge, squared": layer("l", "HingeLoss", "x label", "l", "hinge_loss_param { norm: L2 }"),
}
MATRIX = np.abs(RNG.standard_normal((1, 1, 3, 3))).astype(np.float32)


@pytest.mark.parametrize("text", LOSSES.values(), ids=LOSSES.keys())
def test_a_loss_and_its_gradient_are_those_of_the_runtimes_loss(text: str, tmp_path: Path) -> None:
    graph = read_net(tmp_path, LABELLED + text)
    feeds = {"x": SCORES, "label": LABELS} | ({"h": MATRIX} if "Infogain" in text else {})
    _check_by_differences(graph, feeds, "x", "l")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (layer("y", "SPP", "x", "y", "spp_param { pyramid_height: 3 pool: AVE }"), "2 3 9 7"),
        (layer("y", "SPP", "x", "y", "spp_param { pyramid_height: 2 }"), "1 2 5 6"),
        (layer("y", "Pooling", "x", "y", "pooling_param { pool: AVE kernel_size: 2 stride: 3 pad: 1 }"), "1 2 5 6"),
        (layer("y", "Pooling", "x", "y", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }"), "1 2 5 6"),
        (layer("y", "Permute", "x", "y", "permute_param { order: 1 order: 0 }"), "2 3 4"),
        (layer("y", "GRU", "x c", "y", "recurrent_param { num_output: 3 }"), "2 3 4"),
    ],
    ids=["SPP", "SPP of MAX", "gaps", "wide padding", "Permute", "GRU"],
)
def test_a_gradient_is_that_of_differences(text: str, shape: str, tmp_path: Path) -> None:
    sizes = tuple(map(int, shape.split()))
    inputs = data(shape, "x") + (data("2 3", "c") if "GRU" in text else "")
    feeds = {"x": (RNG.permutation(np.prod(sizes)).reshape(sizes) * 4 / np.prod(sizes)).astype(np.float32)}
    if "GRU" in text:
        feeds["c"] = np.ones((2, 3), np.float32)
    square = layer("l", "Reduction", "y", "l", "reduction_param { operation: SUMSQ } loss_weight: 1")
    _check_by_differences(read_net(tmp_path, inputs + text + square), feeds, "x", "l")


ONE_INPUT = {
    "ReLU6": ("ReLU6", "relu6_param { negative_slope: 0.5 threshold: 1 }"),
    "CReLU": ("CReLU", ""),
    "HardSigmoid": ("HardSigmoid", "hardsigmoid_param { alpha: 0.5 }"),
    "Hswish": ("Hswish", ""),
    "HardSwish": ("HardSwish", "hswish_param { alpha: 0.5 beta: 0.25 }"),
    "Mish": ("Mish", ""),
    "Sin": ("Sin", ""),
    "Cos": ("Cos", ""),
    "Erf": ("Erf", ""),
    "Sqrt": ("Sqrt", ""),
    "Normalize": ("Normalize", ""),
    "Normalize, by place": ("Normalize", "norm_param { across_spatial: false channel_shared: false }"),
    "GroupNorm": ("GroupNorm", "group_norm_param { group_num: 2 }"),
    "LayerNormalization": ("LayerNormalization", "layer_norm_param { axis: 1 }"),
    "LayerNormalization, bare": ("LayerNormalization", "layer_norm_param { axis: -1 affine: false }"),
    "ShuffleChannel": ("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
    "Reorg": ("Reorg", "reorg_param { stride: 2 }"),
    "Reorg, back": ("Reorg", "reorg_param { stride: 2 reverse: true }"),
    "PassThrough": ("PassThrough", "reorg_param { stride: 2 }"),
    "PixelShuffle": ("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }"),
    "Reverse": ("Reverse", "reverse_param { axis: 1 axis: 3 }"),
    "Upsample": ("Upsample", "upsample_param { scale: 2 }"),
    "Unsqueeze": ("Unsqueeze", "unsqueeze_param { dim: 1 }"),
}


@pytest.mark.parametrize(("type", "parameter"), ONE_INPUT.values(), ids=ONE_INPUT.keys())
def test_a_layer_of_other_caffes_has_the_runtimes_values_and_their_gradient(
    type: str, parameter: str, tmp_path: Path
) -> None:
    text = data("2 4 4 2", "x") + layer("y", type, "x", "y", parameter)
    x = np.linspace(-1.93, 1.97, 64, dtype=np.float32)[np.random.default_rng(5).permutation(64)].reshape(2, 4, 4, 2)
    _check_top(read_net(tmp_path, text, "TEST"), {"x": np.abs(x) if type == "Sqrt" else x}, "x")


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        (layer("y", "Axpy", "x b c", "y"), ("2 3", "2 3 4 2", "2 3 4 2")),
        (layer("y", "MatMul", "x b", "y", "matmul_param { transpose_b: true }"), ("2 3 4", "2 5 4")),
        (layer("y", "SmoothL1Loss", "x b c d", "y"), ("4 6", "4 6", "4 6", "4 6")),
        (layer("y", "SmoothL1Loss", "x b", "y", "smooth_l1_loss_param { sigma: 3 }"), ("4 6", "4 6")),
    ],
    ids=["Axpy", "MatMul", "SmoothL1Loss, weighted", "SmoothL1Loss"],
)
def test_so_has_one_of_several_inputs(text: str, shapes: tuple[str, ...], tmp_path: Path) -> None:
    names, rng = "xbcd"[: len(shapes)], np.random.default_rng(6)
    inputs = "".join(data(shape, name) for name, shape in zip(names, shapes, strict=True))
    sizes = [tuple(map(int, shape.split())) for shape in shapes]
    feeds = {name: rng.standard_normal(size).astype(np.float32) for name, size in zip(names, sizes, strict=True)}
    _check_top(read_net(tmp_path, inputs + text, "TEST"), feeds, "x")


def _check_top(graph: Graph, feeds: Mapping[str, NDArray[np.float32]], name: str) -> None:
    """The top is the runtime's, and the gradient of its sum by random weights what the runtime's differences are."""
    network = Network(graph, phase="TEST", force_backward=True)
    result = network.forward(feeds)
    top = result.outputs["y"]
    np.testing.assert_allclose(top.detach().numpy(), run_graph(graph, feeds, ["y"])["y"], rtol=1e-5, atol=1e-6)
    weights = np.random.default_rng(7).standard_normal(tuple(top.shape)).astype(np.float32)
    network.backward({"y": weights})
    found = result.inputs[name].grad
    assert found is not None

    def total(x: NDArray[np.float32]) -> float:
        return float((run_graph(graph, {**feeds, name: x}, ["y"])["y"].astype(np.float64) * weights).sum())

    for place in np.random.default_rng(0).permutation(feeds[name].size)[:6]:
        step = np.zeros_like(feeds[name])
        step.reshape(-1)[place] = 4e-3
        difference = (total(feeds[name] + step) - total(feeds[name] - step)) / 8e-3
        assert found.reshape(-1)[place].item() == pytest.approx(difference, rel=5e-3, abs=2e-3)


def _check_by_differences(graph: Graph, feeds: Mapping[str, NDArray[np.float32]], name: str, loss: str) -> None:
    """The loss is the runtime's, and its gradient for an input what the runtime's differences are, in 16 places."""
    network = Network(graph, phase="TRAIN", force_backward=True)
    result = network.forward(feeds)
    network.backward()
    expected = float(run_graph(graph, feeds, [loss])[loss])
    assert result.loss.item() == pytest.approx(expected, rel=2e-6)
    found = result.inputs[name].grad
    assert found is not None
    step = 1e-2
    for place in np.random.default_rng(0).permutation(feeds[name].size)[:16]:
        ends: list[float] = []
        for sign in (1, -1):
            moved = feeds[name].copy()
            moved.reshape(-1)[place] += sign * step
            ends.append(float(run_graph(graph, {**feeds, name: moved}, [loss])[loss]))
        difference = (ends[0] - ends[1]) / (2 * step)
        assert found.reshape(-1)[place].item() == pytest.approx(difference, rel=2e-2, abs=2e-3)


def _input_gradient(graph: Graph, feeds: Mapping[str, NDArray[np.float32]], *names: str) -> list[list[float]]:
    network = Network(graph, phase="TRAIN", force_backward=True)
    result = network.forward(feeds)
    network.backward({name: np.ones(tuple(top.shape), np.float32) for name, top in result.outputs.items()})
    gradients = [result.inputs[name].grad for name in names]
    return [[] if gradient is None else gradient.reshape(-1).tolist() for gradient in gradients]


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_neighbours_beyond_the_blob_cost_nothing(region: str, tmp_path: Path) -> None:
    parameter = f"lrn_param {{ local_size: 4294967295 alpha: 1e9 norm_region: {region} }}"
    graph = read_net(tmp_path, data("1 3 2 2", "x") + layer("y", "LRN", "x", "y", parameter))
    x = np.random.default_rng(8).standard_normal((1, 3, 2, 2)).astype(np.float32)
    found = Network(graph, phase="TRAIN").forward({"x": x}).outputs["y"]
    sums = (x**2).sum(1, keepdims=True) if region == "ACROSS_CHANNELS" else (x**2).sum((2, 3), keepdims=True)
    share = 1e9 / 4294967295 if region == "ACROSS_CHANNELS" else 1e9 / 4294967295**2
    np.testing.assert_allclose(found.detach().numpy(), x * (1 + share * sums) ** -0.75, rtol=1e-5)


def test_of_equal_inputs_the_second_gets_the_gradient_of_a_maximum_and_a_third_does_not(tmp_path: Path) -> None:
    inputs = data("1 2", "a") + data("1 2", "b") + data("1 2", "c")
    text = inputs + layer("y", "Eltwise", "a b c", "y", "eltwise_param { operation: MAX }")
    equal = np.array([[1, 2]], np.float32)
    feeds = {"a": equal, "b": equal, "c": equal}
    assert _input_gradient(read_net(tmp_path, text), feeds, "a", "b", "c") == [[0, 0], [1, 1], [0, 0]]


def test_the_first_of_equal_elements_gets_the_gradient_of_a_window(tmp_path: Path) -> None:
    text = data("1 1 2 2", "x") + layer("y", "Pooling", "x", "y", "pooling_param { kernel_size: 2 }")
    ones = {"x": np.ones((1, 1, 2, 2), np.float32)}
    assert _input_gradient(read_net(tmp_path, text), ones, "x") == [[1, 0, 0, 0]]


@pytest.mark.parametrize(("stable", "expected"), [("true", 3.0), ("false", np.nan)])
def test_only_the_stable_gradient_of_a_product_survives_a_factor_of_0(
    stable: str, expected: float, tmp_path: Path
) -> None:
    parameter = f"eltwise_param {{ operation: PROD stable_prod_grad: {stable} }}"
    text = data("1 1", "a") + data("1 1", "b") + layer("y", "Eltwise", "a b", "y", parameter)
    feeds = {"a": np.zeros((1, 1), np.float32), "b": np.full((1, 1), 3, np.float32)}
    ((found,),) = _input_gradient(read_net(tmp_path, text), feeds, "a")
    np.testing.assert_equal(found, expected)


def test_the_slope_of_a_relu_at_0_is_that_below(tmp_path: Path) -> None:
    text = data("1 1", "x") + layer("y", "ReLU", "x", "y", "relu_param { negative_slope: 0.25 }")
    assert _input_gradient(read_net(tmp_path, text), {"x": np.zeros((1, 1), np.float32)}, "x") == [[0.25]]


def test_items_that_are_named_twice_get_the_sum_of_both_gradients(tmp_path: Path) -> None:
    text = data("3 1", "x") + data("4", "i") + layer("y", "BatchReindex", "x i", "y")
    feeds = {"x": np.ones((3, 1), np.float32), "i": np.array([2, 0, 2, 2], np.float32)}
    assert _input_gradient(read_net(tmp_path, text), feeds, "x") == [[1, 0, 3]]


def test_items_that_a_filter_leaves_out_have_no_gradient(tmp_path: Path) -> None:
    text = data("3 1", "x") + data("3", "s") + layer("y", "Filter", "x s", "y")
    feeds = {"x": np.ones((3, 1), np.float32), "s": np.array([1, 0, 1], np.float32)}
    assert _input_gradient(read_net(tmp_path, text), feeds, "x") == [[1, 0, 1]]


def test_a_loss_at_its_bound_still_has_a_gradient(tmp_path: Path) -> None:
    text = data("1 2", "x") + data("1", "label") + layer("l", "SoftmaxWithLoss", "x label", "l")
    network = Network(read_net(tmp_path, text), phase="TRAIN", force_backward=True)
    result = network.forward({"x": np.array([[200, 0]], np.float32), "label": np.ones(1, np.float32)})
    network.backward()
    assert result.loss.item() == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-6)
    assert result.inputs["x"].grad is not None
    torch.testing.assert_close(result.inputs["x"].grad, torch.tensor([[1.0, -1.0]]))
