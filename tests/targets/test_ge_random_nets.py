"""Whatever the network: by way of a GE graph it has the scales and integers that it has from Caffe."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.traits import inner_products
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.text.plain import Plain
from tests.ge_graphs import assert_same_graph, read_back
from tests.quantized import outputs, quantize

CHANNELS, SIZE = 4, 6
STEPS = (
    "conv", "grouped", "normalized", "depthwise", "deconv", "relu", "prelu", "sigmoid", "max", "mean", "sum", "concat"
)  # fmt: skip
POLICIES = (
    "",
    "activation_offset: false",
    "common_config { arq_quantize { channel_wise: false } }",
    'do_fusion: false skip_layers: "conv0"',
)


@dataclass
class Net:
    """A Caffe network of [2, 4, 6, 6] values that grows step by step, and ends in an InnerProduct."""

    graph: Graph = field(default_factory=lambda: Graph("net"))
    values: list[Value] = field(default_factory=list[Value])
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def begin(self) -> None:
        self.values.append(
            self.layer("Input", [], {"input_param": {"shape": {"dim": (2, CHANNELS, SIZE, SIZE)}}}, name="data")
        )
        self.step("conv", 0)

    def layer(
        self,
        type: str,
        inputs: list[Value],
        attrs: dict[str, Plain] | None = None,
        weights: dict[str, Array] | None = None,
        name: str = "",
    ) -> Value:
        found = self.graph.unused_name(name or type.lower())
        made = self.graph.add(found, f"caffe.{type}", inputs, [found], attrs=attrs, weights=weights)
        annotate_shapes(self.graph)
        return made.output

    def normal(self, *shape: int) -> NDArray[np.float32]:
        drawn: NDArray[np.float64] = self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return drawn.astype(np.float32)

    def conv(
        self, value: Value, channels: int = CHANNELS, group: int = 1, type: str = "Convolution", kernel: int = 3
    ) -> Value:
        param: dict[str, Plain] = {
            "num_output": channels,
            "kernel_size": (kernel,),
            "pad": (kernel // 2,),
            "group": group,
        }
        read = (value.shape or (0, 0))[1]
        shape = (
            (read, channels // group, kernel, kernel)
            if type == "Deconvolution"
            else (channels, read // group, kernel, kernel)
        )
        weights: dict[str, Array] = {"weight": self.normal(*shape), "bias": self.normal(channels)}
        return self.layer(type, [value], {"convolution_param": param}, weights, f"conv{len(self.values) - 1}")

    def normalize(self, value: Value) -> Value:
        statistics: dict[str, Array] = {
            "mean": self.normal(CHANNELS),
            "variance": self.rng.uniform(0.5, 2, CHANNELS).astype(np.float32),
            "factor": np.array([0.5], np.float32),
        }
        value = self.layer("BatchNorm", [value], {"batch_norm_param": {"use_global_stats": True}}, statistics)
        weights: dict[str, Array] = {"scale": self.normal(CHANNELS) + 1, "bias": self.normal(CHANNELS)}
        return self.layer("Scale", [value], {"scale_param": {"bias_term": True}}, weights)

    def step(self, kind: str, other: int) -> None:
        value, second = self.values[-1], self.values[other % len(self.values)]
        self.values.append(self._step(kind, value, second))

    def _step(self, kind: str, value: Value, second: Value) -> Value:
        match kind:
            case "conv":
                return self.conv(value)
            case "grouped":
                return self.conv(value, group=2)
            case "normalized":
                return self.layer("ReLU", [self.normalize(self.conv(value))])
            case "depthwise":
                return self.conv(value, group=CHANNELS, type="DepthwiseConv")
            case "deconv":
                return self.conv(value, type="Deconvolution")
            case "prelu":
                return self.layer("PReLU", [value], {}, {"slope": self.normal(CHANNELS)})
            case "max" | "mean":
                param: dict[str, Plain] = {
                    "pool": "MAX" if kind == "max" else "AVE",
                    "kernel_size": 3,
                    "stride": 1,
                    "pad": 1,
                }
                return self.layer("Pooling", [value], {"pooling_param": param})
            case "sum":
                return self.layer("Eltwise", [value, second])
            case "concat":
                return self.conv(self.layer("Concat", [value, second]), kernel=1)
            case _:
                return self.layer({"relu": "ReLU", "sigmoid": "Sigmoid"}[kind], [value])

    def finish(self) -> Graph:
        value = self.values[-1]
        weights: dict[str, Array] = {"weight": self.normal(5, CHANNELS * SIZE * SIZE), "bias": self.normal(5)}
        value = self.layer("InnerProduct", [value], {"inner_product_param": {"num_output": 5}}, weights, "fc")
        self.graph.outputs = [self.layer("Softmax", [value], name="prob")]
        return self.graph


def make(steps: list[tuple[str, int]]) -> Graph:
    net = Net()
    net.begin()
    for kind, other in steps:
        net.step(kind, other)
    return net.finish()


def same_factors(node: Node, twin: Node) -> None:
    """Both have the same grids and integers, as far as their data are: these may differ by an ulp.

    More of the values of a Caffe network are looked at, so that ONNX Runtime fuses other ops.
    """
    assert node.quant is not None
    assert twin.quant is not None
    for ours, theirs in zip(node.quant.inputs, twin.quant.inputs, strict=True):
        assert (ours.index, ours.offset, ours.settings) == (theirs.index, theirs.offset, theirs.settings)
        np.testing.assert_allclose(theirs.scale or 0, ours.scale or 1, rtol=1e-6)
    assert node.quant.weight == twin.quant.weight
    for role, array in node.weights.items():
        most = 0 if role == "weight" else 1
        apart = np.abs(twin.weights[role].astype(np.int64) - array.astype(np.int64))
        assert apart.max() <= most, f"{node.name}.{role}"


@pytest.mark.hypothesis
@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=1, max_size=6), st.sampled_from(POLICIES)
)
def test_scales_and_integers_are_those_of_the_caffe_network(steps: list[tuple[str, int]], policy: str) -> None:
    rng = np.random.default_rng(2)
    feeds = [{"data": rng.normal(size=(2, CHANNELS, SIZE, SIZE)).astype(np.float32)} for _ in range(2)]
    caffe, ge = make(steps), read_back(make(steps))
    (wanted,), (found,) = (outputs(graph, feeds[0]).values() for graph in (caffe, ge))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    quantize(caffe, feeds, f"batch_num: 2 {policy}")
    quantize(ge, feeds, policy)
    linear = [node.name for node in caffe.nodes if node.quant is not None and inner_products(node)]
    assert linear
    assert {node.name for node in ge.nodes if node.quant is not None} >= set(linear)
    for node in ge.nodes:
        if node.quant is not None:
            same_factors(caffe.node(node.name), node)
    assert_same_graph(ge, read_back(ge))


@pytest.mark.hypothesis
@settings(deadline=None, max_examples=8)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=1, max_size=6), st.sampled_from(POLICIES)
)
def test_a_quantized_caffe_network_computes_the_same_when_it_is_written_for_ge(
    steps: list[tuple[str, int]], policy: str
) -> None:
    rng = np.random.default_rng(2)
    feeds = [{"data": rng.normal(size=(2, CHANNELS, SIZE, SIZE)).astype(np.float32)}]
    graph = quantize(make(steps), feeds, f"batch_num: 1 {policy}")
    again = read_back(graph)
    (wanted,), (found,) = (outputs(each, feeds[0]).values() for each in (graph, again))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert_same_graph(again, read_back(again))
