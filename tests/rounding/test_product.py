"""Linear layers of every dialect as torch computes them: the same numbers as the runtime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from amctc.dialects.scaling import channels_of
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node
from amctc.rounding.product import Product
from amctc.runtime.executor import Executor
from tests.ge_graphs import NCHW, NHWC, GeNet
from tests.nets import conv, data, layer, make_net
from tests.onnx_nets import load, make_model
from tests.quantized import random_feeds


def made(node: Node, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the product of a node gives for an input."""
    trait, product = linear_trait(node), Product.of(node, x.shape, y.shape)
    parts = torch.from_numpy(np.array(channels_of(node).split(node, node.weights[trait.weight]), np.float32))
    bias = node.weights.get(trait.bias)
    bias_of = None if bias is None else torch.from_numpy(np.array(bias.reshape(-1)))
    assert product.array(product.outputs(y)).tobytes() == np.ascontiguousarray(y).tobytes()
    return product.array(product(product.inputs(x), parts, bias_of))


def agrees(graph: Graph) -> int:
    """How many linear layers there are, all of which give what the runtime computes, for several samples too."""
    nodes = [node for node in graph.nodes if op_def(node).linear is not None]
    (feeds,) = random_feeds(graph, 1, 1)
    values = [value for node in nodes for value in (node.inputs[0], node.output)]
    run = Executor(graph, fetch=list(dict.fromkeys(values))).run(feeds)
    for node in nodes:
        wanted = run[node.output]
        np.testing.assert_allclose(made(node, run[node.inputs[0]], wanted), wanted, rtol=1e-4, atol=1e-4)
    return len(nodes)


CAFFE = (
    data("3 4 9 8")
    + conv("plain", "data", 6, 3, "pad_h: 1 pad_w: 2 stride_h: 2 stride_w: 1")
    + conv("grouped", "plain", 4, 3, "group: 2 dilation: 2 pad: 2 bias_term: false")
    + conv("dw", "grouped", 4, 3, "pad: 1", type="DepthwiseConv")
    + conv("up", "dw", 6, 3, "stride: 2 pad: 1 group: 2", type="Deconvolution")
    + layer("fc", "InnerProduct", "up", "fc", "inner_product_param { num_output: 5 }")
    + layer("ft", "InnerProduct", "up", "ft", "inner_product_param { num_output: 3 axis: 2 transpose: true }")
)


def test_layers_of_caffe(tmp_path: Path) -> None:
    assert agrees(make_net(tmp_path, CAFFE)) == 6


def test_layers_of_onnx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "w1": (6, 4, 3, 2),
        "b1": (6,),
        "w2": (6, 2, 3, 3),
        "w3": (6, 2, 3, 2),
        "w4": (7, 5),
        "w5": (5, 7),
        "b5": (5,),
    }
    body = """
        c1 = Conv <pads = [0, 1, 2, 0], strides = [1, 2], dilations = [2, 1]> (x, w1, b1)
        c2 = Conv <group = 3, auto_pad = "SAME_UPPER", strides = [2, 1]> (c1, w2)
        t = ConvTranspose <group = 2, strides = [2, 3], pads = [1, 0, 0, 2], output_padding = [1, 0]> (c2, w3)
        p = GlobalAveragePool (t)
        m = MatMul (rows, w4)
        f = Gemm <transB = 1> (flat, w5, b5)
    """
    signature = "(float[2, 4, 8, 9] x, float[2, 3, 7] rows, float[4, 7] flat) => (float[] p, float[] m, float[] f)"
    model = make_model(signature, body, {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()})
    assert agrees(load(model, tmp_path)) == 5


@pytest.mark.parametrize("layout", [NCHW, NHWC])
def test_layers_of_ge(layout: str) -> None:
    net = GeNet(layout)
    value = net.conv(net.data(2, 4, 6, 5), 6, group=2)
    value = net.deconv(net.relu(net.depthwise(value, multiplier=2)), 5)
    whole = net.full(value, 7)
    graph = net.finish(net.matmul(whole, 3), net.matmul(whole, 4, transpose=True))
    assert agrees(graph) == 6
