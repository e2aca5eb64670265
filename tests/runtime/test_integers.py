"""Integer layers: exact sums, the offset as padding, the ways a file can get them wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import annotate_dtypes
from amctc.ir import Graph, InputQuant, NodeQuant, WeightQuant
from amctc.ir.node import Array
from amctc.quant.ifmr import IfmrSettings
from amctc.runtime.executor import Executor, run_graph
from amctc.runtime.plan import HostStep, make_plan
from tests.runtime.nets import add_input, one_layer, quantized_layer, random, random_int8

CONVOLUTIONS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    "3x3": ("Convolution", (2, 3, 6, 7), {"num_output": 4, "kernel_size": (3,), "pad": (1,)}, (4, 3, 3, 3)),
    "group, stride, dilation": (
        "Convolution",
        (2, 4, 9, 8),
        {"num_output": 6, "kernel_size": (3,), "pad": (2,), "group": 2, "stride": (2,), "dilation": (2,)},
        (6, 2, 3, 3),
    ),
    "1d": ("Convolution", (2, 3, 9), {"num_output": 4, "kernel_size": (3,), "pad": (1,)}, (4, 3, 3)),
    "3d": ("Convolution", (1, 2, 4, 5, 6), {"num_output": 3, "kernel_size": (3,), "pad": (1,)}, (3, 2, 3, 3, 3)),
    "axis 2": (
        "Convolution",
        (2, 3, 2, 5, 6),
        {"num_output": 3, "kernel_size": (3,), "pad": (1,), "axis": 2},
        (3, 2, 3, 3),
    ),
    "depthwise": ("DepthwiseConv", (2, 5, 6, 7), {"num_output": 5, "kernel_size": (3,), "pad": (1,)}, (5, 1, 3, 3)),
    "deconvolution": (
        "Deconvolution",
        (2, 4, 4, 5),
        {"num_output": 6, "kernel_size": (3,), "pad": (1,), "group": 2, "stride": (2,), "dilation": (2,)},
        (4, 3, 3, 3),
    ),
}


@pytest.mark.parametrize("offset", [0, -128, 37])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_of_integers_is_exact(name: str, bits: int, offset: int) -> None:
    kind, shape, parameter, weight_shape = CONVOLUTIONS[name]
    weights: dict[str, Array] = {
        "weight": random_int8(weight_shape),
        "bias": np.arange(parameter["num_output"], dtype=np.int32) * 1000 - 2000,
    }
    param = {"convolution_param": parameter}
    graph = quantized_layer(kind, shape, param, weights, scale=0.01, offset=offset, bits=bits)
    _expect_float_layer(graph, kind, param, shape, offset)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("parameter", "shape", "weight_shape"),
    [
        ({"num_output": 5}, (3, 4, 2, 3), (5, 24)),
        ({"num_output": 5, "axis": 2, "transpose": True}, (3, 4, 2, 3), (6, 5)),
    ],
)
def test_an_inner_product_of_integers_is_exact(
    parameter: dict[str, Any], shape: tuple[int, ...], weight_shape: tuple[int, ...], bits: int
) -> None:
    weights: dict[str, Array] = {"weight": random_int8(weight_shape), "bias": np.arange(5, dtype=np.int32)}
    param = {"inner_product_param": parameter}
    graph = quantized_layer("InnerProduct", shape, param, weights, offset=-7, bits=bits)
    _expect_float_layer(graph, "InnerProduct", param, shape, -7)


def test_the_largest_integers_do_not_saturate() -> None:
    weights: dict[str, Array] = {"weight": np.full((4, 64, 3, 3), 127, np.int8)}
    parameter: dict[str, Any] = {"convolution_param": {"num_output": 4, "kernel_size": (3,), "bias_term": False}}
    graph = quantized_layer("Convolution", (1, 64, 4, 4), parameter, weights, scale=0.01, offset=-128)
    found = run_graph(graph, {"data": np.full((1, 64, 4, 4), 100, np.float32)}, ["out"])["out"]
    assert found.dtype == np.int32
    assert np.unique(found).tolist() == [255 * 127 * 64 * 9]


def test_a_sum_beyond_32_bits_names_the_layer() -> None:
    weights: dict[str, Array] = {"weight": np.full((1, 70000), 127, np.int8)}
    parameter: dict[str, Any] = {"inner_product_param": {"num_output": 1, "bias_term": False}}
    graph = quantized_layer("InnerProduct", (1, 70000), parameter, weights, offset=-128)
    assert run_graph(graph, {"data": np.zeros((1, 70000))}, ["out"])["out"].tolist() == [[0]]
    with pytest.raises(DiagnosticError, match=r"AM430.*`layer` \(InnerProduct\): a sum of 2266950000"):
        run_graph(graph, {"data": np.full((1, 70000), 1000.0)})


def test_only_what_onnx_runtime_cannot_do_exactly_is_a_host_op() -> None:
    for bits, kind, host in ((8, "Convolution", 0), (16, "Convolution", 1), (8, "Deconvolution", 1)):
        parameter: dict[str, Any] = {"convolution_param": {"num_output": 3, "kernel_size": (1,), "bias_term": False}}
        weights: dict[str, Array] = {"weight": random_int8((3, 3, 1, 1))}
        graph = quantized_layer(kind, (1, 3, 2, 2), parameter, weights, bits=bits)
        executor = Executor(graph)
        assert sum(isinstance(step, HostStep) for step in executor.steps) == host


def test_weights_that_are_not_integers_are_refused_behind_a_quantize() -> None:
    parameter: dict[str, Any] = {"inner_product_param": {"num_output": 2, "bias_term": False}}
    graph = quantized_layer("InnerProduct", (1, 3), parameter, {"weight": random((2, 3))})
    with pytest.raises(DiagnosticError, match=r"AM431.*its weight is float32, not int8"):
        run_graph(graph, {"data": random((1, 3))})


def test_a_float_bias_is_refused_behind_a_quantize() -> None:
    weights: dict[str, Array] = {"weight": random_int8((2, 3)), "bias": random((2,))}
    graph = quantized_layer("InnerProduct", (1, 3), {"inner_product_param": {"num_output": 2}}, weights)
    with pytest.raises(DiagnosticError, match=r"AM431.*its bias is float32, not int32"):
        run_graph(graph, {"data": random((1, 3))})


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_quantized_weights_on_float_data_compute_with_their_real_values(kind: str) -> None:
    integers, scale = random_int8((4, 4, 3, 3)), np.array([0.5, 0.25, 2, 1], np.float32)
    parameter: dict[str, Any] = {"num_output": 4, "kernel_size": (3,), "bias_term": False}
    graph = one_layer(kind, (1, 4, 5, 5), {"convolution_param": parameter}, {"weight": integers})
    node = graph.node("layer")
    node.quant = NodeQuant((InputQuant(0, IfmrSettings()),), WeightQuant("arq", 8, True, {"weight": scale}))
    along = (1, -1, 1, 1) if kind == "Deconvolution" else (-1, 1, 1, 1)
    real = {"weight": integers.astype(np.float32) * scale.reshape(along)}
    data = {"data": random((1, 4, 5, 5))}
    expected = run_graph(one_layer(kind, (1, 4, 5, 5), {"convolution_param": parameter}, real), data, ["out"])
    np.testing.assert_array_equal(run_graph(graph, data, ["out"])["out"], expected["out"])
    node.quant = replace(node.quant, weight=None)
    with pytest.raises(DiagnosticError, match="AM432"):
        run_graph(graph, data)


@pytest.mark.parametrize(("bits", "offset"), [(8, 0), (8, -128), (8, 5), (5, 3), (16, -100), (12, 7)])
def test_quantize_and_antiquantize_follow_the_formula(bits: int, offset: int) -> None:
    graph = Graph("net")
    data = add_input(graph, (64,))
    attrs = {"scale": 0.1, "offset": offset, "bits": bits}
    quantize = graph.add("q", "quant.Quantize", [data.output], attrs=attrs)
    graph.add("x", "quant.AntiQuantize", [quantize.output], attrs=attrs)
    centred = graph.add("c", "quant.Quantize", [data.output], attrs={**attrs, "centered": True})
    graph.add("y", "quant.AntiQuantize", [centred.output], attrs={**attrs, "centered": True})
    x = np.concatenate([random((60,)) * 100, [0, 0.05, -0.25, 1e30]]).astype(np.float32)
    found = run_graph(graph, {"data": x})
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    steps = np.rint(x * (np.float32(1) / np.float32(0.1)))
    expected = np.clip(steps.astype(np.float64) + offset, low, high)
    assert found["q"].dtype == (np.int8 if bits <= 8 else np.int16)
    np.testing.assert_array_equal(found["q"], expected)
    np.testing.assert_array_equal(found["c"], expected - offset)
    np.testing.assert_array_equal(found["x"], (expected - offset).astype(np.float32) * np.float32(0.1))
    np.testing.assert_array_equal(found["y"], found["x"])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_dequantize_scales_each_channel_of_axis_1(shape: tuple[int, ...]) -> None:
    graph = Graph("net")
    data = add_input(graph, shape)
    factors = np.array([0.5, 2, 3], np.float32)
    graph.add("each", "quant.Dequantize", [data.output], weights={"deq_scale": factors})
    graph.add("all", "quant.Dequantize", [data.output], weights={"deq_scale": factors[:1]})
    x = random(shape)
    found = run_graph(graph, {"data": x})
    np.testing.assert_array_equal(found["each"], x * factors.reshape((1, 3) + (1,) * (len(shape) - 2)))
    np.testing.assert_array_equal(found["all"], x * factors[0])


def test_integers_pass_through_ops_that_only_move_them() -> None:
    weights: dict[str, Array] = {"weight": random_int8((2, 12))}
    graph = Graph("net")
    data = add_input(graph, (1, 3, 2, 2))
    quantize = graph.add("q", "quant.Quantize", [data.output], attrs={"scale": 0.1, "offset": 4, "bits": 8})
    flat = graph.add("flat", "caffe.Flatten", [quantize.output])
    split = graph.add("split", "caffe.Split", [flat.output], ["a", "b"])
    attrs: dict[str, Any] = {"inner_product_param": {"num_output": 2, "bias_term": False}}
    fc = graph.add("fc", "caffe.InnerProduct", [split.outputs[1]], attrs=attrs, weights=weights)
    graph.outputs = [fc.output]
    found = run_graph(graph, {"data": random((1, 3, 2, 2))})
    centred = found["b"].astype(np.int64) - 4
    assert found["fc"].dtype == np.int32
    np.testing.assert_array_equal(found["fc"], centred @ weights["weight"].astype(np.int64).T)


def test_the_plan_of_an_integer_net_has_one_host_step_between_two_segments() -> None:
    parameter: dict[str, Any] = {"convolution_param": {"num_output": 3, "kernel_size": (1,), "bias_term": False}}
    graph = quantized_layer("Convolution", (1, 3, 2, 2), parameter, {"weight": random_int8((3, 3, 1, 1))}, bits=16)
    sums = graph.node("layer").output
    out = graph.add("deq", "quant.Dequantize", [sums], weights={"deq_scale": np.ones(1, np.float32)})
    executor = Executor(graph, fetch=[out.output])
    assert [type(step).__name__ for step in executor.steps] == ["Segment", "HostStep", "Segment"]
    assert make_plan(graph, [], annotate_dtypes(graph), ()) == ()


def _expect_float_layer(
    graph: Graph, kind: str, parameter: dict[str, dict[str, Any]], shape: tuple[int, ...], offset: int
) -> None:
    """The integer layer equals the float layer on the same integers, which float32 holds exactly."""
    weights = {role: array.astype(np.float32) for role, array in graph.node("layer").weights.items()}
    found = run_graph(graph, {"data": random(shape)})
    centred: NDArray[np.float32] = found["quant"].astype(np.float32) - offset
    expected = run_graph(one_layer(kind, shape, parameter, weights), {"data": centred})["out"]
    assert np.abs(expected).max() < 2**24
    np.testing.assert_array_equal(found["out"], expected)
