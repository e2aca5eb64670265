"""Activations as torch computes them: the same numbers as the runtime's, and none that are not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.rounding.activations import activation_behind
from amctc.runtime.executor import Executor
from tests.ge_graphs import NCHW, NHWC, GeNet
from tests.nets import conv, data, layer, make_net
from tests.onnx_nets import load, make_model
from tests.quantized import random_feeds


def behind(graph: Graph) -> str | None:
    """The activation behind the only linear layer, after it was compared with the runtime."""
    (node,) = (node for node in graph.nodes if op_def(node).linear is not None)
    found = activation_behind(node)
    if found is None:
        return None
    reader, function = found
    (feeds,) = random_feeds(graph, 0, 1)
    run = Executor(graph, fetch=[node.output, reader.output]).run(feeds)
    axis = op_def(node).linear.channel_axis(node, run[node.output].shape)  # type: ignore[union-attr]  # it is linear
    made = function(torch.from_numpy(np.ascontiguousarray(np.moveaxis(run[node.output], axis, 1)))).numpy()
    np.testing.assert_allclose(np.moveaxis(made, 1, axis), run[reader.output], rtol=1e-5, atol=1e-5)
    return reader.op


@pytest.mark.parametrize(
    ("type", "more"),
    [
        ("ReLU", ""),
        ("ReLU", "relu_param { negative_slope: 0.2 }"),
        ("ReLU6", ""),
        ("PReLU", ""),
        ("PReLU", "prelu_param { channel_shared: true }"),
        ("Sigmoid", ""),
        ("TanH", ""),
    ],
)
def test_activations_of_caffe(type: str, more: str, tmp_path: Path) -> None:
    net = data("2 3 5 5") + conv("conv", "data", 4) + layer("act", type, "conv", "act", more)
    assert behind(make_net(tmp_path, net)) == f"caffe.{type}"


@pytest.mark.parametrize(
    "act",
    [
        "Relu (c)",
        "Clip (c, low, six)",
        "LeakyRelu (c)",
        "LeakyRelu <alpha = 0.3> (c)",
        "PRelu (c, slopes)",
        "PRelu (c, low)",
        "Sigmoid (c)",
        "Tanh (c)",
        "Gelu (c)",
        'Gelu <approximate = "tanh"> (c)',
    ],
)
def test_activations_of_onnx(act: str, tmp_path: Path) -> None:
    assert behind(onnx_net(act, tmp_path)) == f"onnx.{act.split(maxsplit=1)[0]}"


@pytest.mark.parametrize("act", ["Softplus (c)", "Abs (c)", "PRelu (c, columns)", "Add (c, c)", "Softmax (c)"])
def test_what_is_not_known_stays_out(act: str, tmp_path: Path) -> None:
    assert behind(onnx_net(act, tmp_path)) is None


def onnx_net(act: str, folder: Path) -> Graph:
    weights = {
        "w": np.random.default_rng(0).normal(size=(4, 3, 1, 1)),
        "slopes": np.linspace(0.1, 0.4, 4).reshape(4, 1, 1),
        "columns": np.linspace(0.1, 0.5, 4),
        "low": np.array(0),
        "six": np.array(6),
    }
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    body = f"c = Conv (x, w) y = {act}"
    return load(make_model("(float[1, 3, 4, 4] x) => (float[1, 4, 4, 4] y)", body, arrays, opset=20), folder)


@pytest.mark.parametrize("layout", [NCHW, NHWC])
@pytest.mark.parametrize("type", ["Relu", "Relu6", "LeakyRelu", "PRelu", "Sigmoid", "Tanh"])
def test_activations_of_ge(layout: str, type: str) -> None:
    net = GeNet(layout)
    value = net.conv(net.data(2, 3, 5, 5), 4)
    attrs = {"negative_slope": 0.25} if type == "LeakyRelu" else {}
    weights = {"weight": net.numbers(4)} if type == "PRelu" else None
    graph = net.finish(net.op(type, [value], weights, more=attrs))
    assert behind(graph) == f"ge.{type}"


def test_an_output_that_others_read_too_is_learned_alone(tmp_path: Path) -> None:
    net = data("2 3 5 5") + conv("conv", "data", 4)
    net += layer("act", "ReLU", "conv", "act") + layer("other", "Sigmoid", "conv", "other")
    assert behind(make_net(tmp_path, net)) is None
