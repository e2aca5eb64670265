"""The quantized form in GE's words: written, read back, computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends.ge import load_ge
from amctc.ir import Graph, Value
from amctc.targets.ge.ascend import AscendForm, check_form
from amctc.targets.ge.target import GeTarget
from tests.ge_graphs import (
    NCHW,
    NHWC,
    Floats,
    GeNet,
    assert_same_graph,
    op_of,
    ops_of,
    read,
    read_back,
    to_layout,
    to_nchw,
    written,
)
from tests.quantized import outputs, quantize, random_feeds
from tests.shared_files import GOLDEN, needs_golden


def _conv(net: GeNet, value: Value) -> Value:
    return net.conv(value, 8)


def _grouped(net: GeNet, value: Value) -> Value:
    return net.conv(value, 8, group=2, bias=False)


def _depthwise(net: GeNet, value: Value) -> Value:
    return net.depthwise(value, multiplier=2)


def _deconv(net: GeNet, value: Value) -> Value:
    return net.deconv(value, 6)


def _chain(net: GeNet, value: Value) -> Value:
    return net.conv(net.pool(net.relu(net.depthwise(net.conv(value, 8)))), 5, kernel=1)


IMAGE_NETS = (_conv, _grouped, _depthwise, _deconv, _chain)
LAYOUTS = (NCHW, NHWC)


def _batches(net: GeNet, *shape: int, count: int = 2) -> list[dict[str, Floats]]:
    rng = np.random.default_rng(5)
    drawn = [rng.normal(size=shape).astype(np.float16).astype(np.float32) for _ in range(count)]
    return [{"data": to_layout(array, net.layout)} for array in drawn]


def _quantized(
    build: Callable[[GeNet, Value], Value], layout: str = NCHW, dtype: str = "float32", policy: str = ""
) -> tuple[Graph, list[dict[str, Floats]]]:
    net = GeNet(layout, dtype)
    graph = net.finish(build(net, net.data(2, 4, 6, 6)))
    feeds = _batches(net, 2, 4, 6, 6)
    return quantize(graph, feeds, policy), feeds


def _output(graph: Graph, feeds: dict[str, Floats]) -> Floats:
    (found,) = outputs(graph, feeds).values()
    return found


@pytest.mark.parametrize("build", IMAGE_NETS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_quantized_graph_reads_back_equal_and_computes_the_same_bits(
    build: Callable[[GeNet, Value], Value], layout: str, dtype: str
) -> None:
    graph, feeds = _quantized(build, layout, dtype)
    again = read_back(graph)
    assert_same_graph(graph, again)
    wanted, found = _output(graph, feeds[0]), _output(again, feeds[0])
    assert wanted.dtype == dtype
    np.testing.assert_array_equal(found, wanted)
    assert_same_graph(again, read_back(again))


@pytest.mark.parametrize("build", IMAGE_NETS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_layouts_have_the_same_factors_and_integers(build: Callable[[GeNet, Value], Value], dtype: str) -> None:
    first, feeds = _quantized(build, NCHW, dtype)
    second, moved = _quantized(build, NHWC, dtype)
    for node in first.nodes:
        twin = second.node(node.name)
        assert node.quant == twin.quant, node.name
        for role, array in node.weights.items():
            other = twin.weights[role]
            assert array.dtype == other.dtype
            if array.ndim == 4:
                other = other.transpose(3, 2, 0, 1)
            np.testing.assert_array_equal(array, other)
    convolutions = [node for node in first.nodes if "bias" in node.weights]
    assert all(node.weights["bias"].dtype == np.int32 for node in convolutions)
    np.testing.assert_array_equal(_output(first, feeds[1]), to_nchw(_output(second, moved[1]), NHWC))


def test_halves_are_quantized_as_their_values_in_float32_are() -> None:
    halves, feeds = _quantized(_conv, dtype="float16")
    floats, _ = _quantized(_rounded_conv)
    assert halves.node("conv2d").quant == floats.node("conv2d").quant
    np.testing.assert_array_equal(halves.node("conv2d").weights["weight"], floats.node("conv2d").weights["weight"])
    np.testing.assert_array_equal(_output(halves, feeds[0]), _output(floats, feeds[0]).astype(np.float16))


def _rounded_conv(net: GeNet, value: Value) -> Value:
    found = net.conv(value, 8)
    weights = found.producer.weights
    weights.update({role: array.astype(np.float16).astype(np.float32) for role, array in weights.items()})
    return found


def test_a_float16_graph_has_float16_out_of_its_dequant_ops() -> None:
    graph, _ = _quantized(_conv, dtype="float16")
    model = written(graph)
    (dequant,) = ops_of(model, "AscendDequant")
    assert (dequant.attr["dtype"].i, dequant.output_desc[0].dtype) == (1, 2)  # the numbers of C++ and of the file
    (conv,) = ops_of(model, "Conv2D")
    assert [descriptor.dtype for descriptor in conv.input_desc[:3]] == [3, 3, 7]
    assert conv.output_desc[0].dtype == 7


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("type", ["MatMul", "MatMulV2"])
def test_products_of_matrices_read_back_equal(transpose: bool, type: str) -> None:
    net = GeNet()
    graph = net.finish(net.matmul(net.relu(net.data(5, 12)), 7, transpose, type))
    feeds = _batches(net, 5, 12)
    quantize(graph, feeds)
    again = read_back(graph)
    assert_same_graph(graph, again)
    np.testing.assert_array_equal(_output(again, feeds[0]), _output(graph, feeds[0]))


@pytest.mark.parametrize("transpose", [False, True])
def test_batches_of_matrices_read_back_equal(transpose: bool) -> None:
    net = GeNet()
    value = net.data(2, 5, 12)
    weights = net.numbers(7, 12, low=-1) if transpose else net.numbers(12, 7, low=-1)
    graph = net.finish(net.op("BatchMatMulV2", [value], {"weight": weights}, adj_x2=transpose))
    feeds = _batches(net, 2, 5, 12)
    float_output = _output(graph, feeds[0])
    quantize(graph, feeds)
    again = read_back(graph)
    assert_same_graph(graph, again)
    found = _output(again, feeds[0])
    np.testing.assert_array_equal(found, _output(graph, feeds[0]))
    np.testing.assert_allclose(found, float_output, atol=0.03 * float(np.abs(float_output).max()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_connection_behind_images_reads_back_equal(layout: str) -> None:
    net = GeNet(layout)
    graph = net.finish(net.full(net.relu(net.conv(net.data(2, 4, 6, 6), 8)), 10))
    feeds = _batches(net, 2, 4, 6, 6)
    quantize(graph, feeds)
    again = read_back(graph)
    assert_same_graph(graph, again)
    np.testing.assert_array_equal(_output(again, feeds[0]), _output(graph, feeds[0]))


@needs_golden
@pytest.mark.parametrize("name", ["01_conv_nchw", "03_mixed_two_in_two_out", "04_conv_nhwc"])
@pytest.mark.parametrize("generation", ["ge2026", "metadef2021"])
def test_recorded_graphs_are_quantized_and_read_back_equal(generation: str, name: str) -> None:
    graph = load_ge(GOLDEN / "ge" / f"{generation}_{name}.air")
    feeds = random_feeds(graph, 1, 2)
    quantize(graph, feeds)
    again = read_back(graph)
    assert_same_graph(graph, again)
    for wanted, found in zip(outputs(graph, feeds[0]).values(), outputs(again, feeds[0]).values(), strict=True):
        np.testing.assert_array_equal(found, wanted)


# -- scales ----------------------------------------------------------------------------------------


def _with_scales(data: float, weight: float) -> tuple[Graph, dict[str, Floats]]:
    """A quantized convolution and pooling whose data and weights are of these magnitudes."""
    net = GeNet()
    value = net.pool(net.conv(net.data(1, 4, 6, 6), 8, bias=False), mode=1)
    graph = net.finish(value)
    kernel = graph.node("conv2d").weights["weight"].astype(np.float32)
    graph.node("conv2d").weights["weight"] = kernel * np.float32(weight)
    feeds = [
        {name: (array * np.float32(data)).astype(np.float32) for name, array in feed.items()}
        for feed in _batches(net, 1, 4, 6, 6)
    ]
    return quantize(graph, feeds), feeds[0]


@pytest.mark.parametrize("data", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("weight", [1e-4, 1.0, 1e3])
def test_what_leaves_float16_is_written_as_its_root(data: float, weight: float) -> None:
    graph, feed = _with_scales(data, weight)
    model = written(graph)
    for type in ("AscendQuant", "AscendAntiQuant", "AscendDequant"):
        for op in ops_of(model, type):
            node = graph.node(op.name)
            if type == "AscendDequant":
                scales = node.weights["deq_scale"].astype(np.float32)
            else:
                scale = np.float32(str(node.attrs["scale"]))
                scales = np.array([1 / scale if type == "AscendQuant" else scale], np.float32)
            outside = bool((scales > 65504).any() or (scales < 2**-24).any())
            assert op.attr["sqrt_mode"].b == outside, (op.name, scales)
    again = read(model)
    wanted, found = _output(graph, feed), _output(again, feed)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-2 * float(np.abs(wanted).max()))
    assert np.isclose(found, wanted, rtol=1e-5).mean() > 0.9


def test_the_square_of_a_written_root_is_within_two_ulps_of_the_scale() -> None:
    graph, _ = _with_scales(1e-3, 1e-4)
    again = read_back(graph)
    deq_scales = (each.node("conv2d.dequant").weights["deq_scale"] for each in (graph, again))
    scales, found = (array.astype(np.float32) for array in deq_scales)
    np.testing.assert_allclose(found, scales, rtol=3e-7)
    assert not np.array_equal(found, scales)


def test_a_scale_whose_root_is_no_float16_is_refused() -> None:
    graph, _ = _with_scales(1.0, 1.0)
    graph.node("conv2d.dequant").weights["deq_scale"] = np.full(8, 1e-16, np.float32)
    with pytest.raises(DiagnosticError, match=r"conv2d.dequant.*the scale 1e-16.*float16") as caught:
        check_form(graph, AscendForm())
    assert caught.value.diagnostics[0].code == "AM716"


def test_data_of_16_bits_are_refused() -> None:
    graph, _ = _with_scales(1.0, 1.0)
    graph.node("conv2d.quant").attrs["bits"] = 16
    with pytest.raises(DiagnosticError, match=r"conv2d.quant.*data of 16 bits"):
        GeTarget().emit(graph)


# -- AscendWeightQuant -----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weight_quant_ops_stand_behind_integer_filters(layout: str) -> None:
    graph, feeds = _quantized(_chain, layout)
    model = written(graph, AscendForm(weight_quant=True))
    layers = [node for node in graph.nodes if "weight" in node.weights]
    assert len(ops_of(model, "AscendWeightQuant")) == len(layers) == 3
    for node in layers:
        reader = op_of(model, node.name)
        source = reader.input[1].rpartition(":")[0]
        quant = op_of(model, source)
        assert quant.type == "AscendWeightQuant"
        assert quant.attr["dst_type"].i == 2
        constant, offset = (op_of(model, edge.rpartition(":")[0]) for edge in quant.input)
        assert constant.output_desc[0].dtype == offset.output_desc[0].dtype == 3
        zeros = offset.attr["value"].t
        assert list(zeros.desc.shape.dim) == [node.weights["bias"].size]
        assert not any(zeros.data)
        assert list(reader.is_input_const)[:2] == [False, False]
        assert reader.input_desc[1].dtype == 3
    again = read(model)
    assert_same_graph(graph, again)
    np.testing.assert_array_equal(_output(again, feeds[0]), _output(graph, feeds[0]))


def test_weight_quant_ops_that_were_read_are_written_again_as_they_were() -> None:
    graph, _ = _quantized(_chain)
    model = written(graph, AscendForm(weight_quant=True))
    assert written(read(model)) == model


def test_float_layers_get_no_weight_quant_op() -> None:
    net = GeNet()
    graph = net.finish(net.conv(net.relu(net.conv(net.data(2, 4, 6, 6), 4)), 8))
    quantize(graph, _batches(net, 2, 4, 6, 6), 'skip_layers: "conv2d_1"')
    model = written(graph, AscendForm(weight_quant=True))
    assert len(ops_of(model, "AscendWeightQuant")) == 1


def test_one_scale_has_one_offset() -> None:
    graph, _ = _quantized(_conv, policy="common_config { arq_quantize { channel_wise: false } }")
    (op,) = ops_of(written(graph, AscendForm(weight_quant=True)), "AscendWeightQuant")
    assert list(op.input_desc[1].shape.dim) == [1]


# -- narrow and clustered weights ------------------------------------------------------------------


@pytest.mark.parametrize("bits", [6, 7])
def test_narrow_weights_are_held_as_int8(bits: int) -> None:
    graph, feeds = _quantized(_conv, policy=f"common_config {{ arq_quantize {{ quant_bits: {bits} }} }}")
    weight = graph.node("conv2d").weights["weight"]
    assert -(1 << (bits - 1)) <= weight.min() < weight.max() < 1 << (bits - 1)
    again = read_back(graph)
    assert_same_graph(graph, again)
    np.testing.assert_array_equal(_output(again, feeds[0]), _output(graph, feeds[0]))
