"""The built-in passes on GE graphs, in both layouts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from amctc.dialects.ge.slots import note
from amctc.ir import Graph, Value
from amctc.passes import PIPELINES
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registry import builtin_registry
from amctc.source import SourceFile
from tests.ge_graphs import NCHW, NHWC, Floats, GeNet, op_of, read_back, to_layout, written
from tests.quantized import outputs, quantize, run_passes

LAYOUTS = (NCHW, NHWC)
both = pytest.mark.parametrize("layout", LAYOUTS)


def feed(layout: str, seed: int = 3, *shape: int) -> dict[str, Floats]:
    drawn = np.random.default_rng(seed).normal(size=shape or (1, 4, 6, 6)).astype(np.float32)
    return {"data": to_layout(drawn, layout)}


def run_float(graph: Graph, pipeline: str) -> Context:
    """Run passes that need no policy."""
    context = Context()
    parse_pipeline(SourceFile("pipeline", pipeline), builtin_registry()).run(graph, context)
    return context


def keeps(graph: Graph, pipeline: str, layout: str) -> Graph:
    """Run a pipeline, and see that the graph computes what it did, also when it is written and read."""
    feeds = feed(layout)
    before = list(outputs(graph, feeds).values())
    run_float(graph, pipeline)
    for now in (graph, read_back(graph)):
        for wanted, found in zip(before, outputs(now, feeds).values(), strict=True):
            assert found.dtype == wanted.dtype
            size = float(np.abs(wanted.astype(np.float32)).max())
            np.testing.assert_allclose(
                found, wanted, rtol=0, atol=(2e-3 if wanted.dtype == np.float16 else 2e-6) * size
            )
    return graph


def types(graph: Graph) -> list[str]:
    return [node.type for node in graph.nodes]


# -- fuse-batchnorm --------------------------------------------------------------------------------


def bn_inference(net: GeNet, value: Value) -> Value:
    count = net.channels(value)
    weights = {"mean": net.numbers(count, low=-1), "variance": net.numbers(count), "momentum": net.numbers(1)}
    return net.op("BNInference", [value], weights, epsilon=1e-5)


def scale(net: GeNet, value: Value) -> Value:
    count = net.channels(value)
    weights = {"scale": net.numbers(count, low=-1), "bias": net.numbers(count)}
    return net.op("Scale", [value], weights, axis=3 if net.layout == NHWC else 1)


def bias(net: GeNet, value: Value) -> Value:
    return net.op("Bias", [value], {"bias": net.numbers(net.channels(value))}, axis=3 if net.layout == NHWC else 1)


LINEAR: tuple[Callable[[GeNet, Value], Value], ...] = (
    lambda net, value: net.conv(value, 6),
    lambda net, value: net.conv(value, 6, group=2, bias=False),
    lambda net, value: net.depthwise(value, 2),
    lambda net, value: net.deconv(value, 6),
)


@both
@pytest.mark.parametrize("linear", LINEAR)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_batch_norm_scale_and_bias_are_folded_in_either_layout(
    linear: Callable[[GeNet, Value], Value], layout: str, dtype: str
) -> None:
    net = GeNet(layout, dtype)
    value = linear(net, net.data(1, 4, 6, 6))
    graph = net.finish(net.relu(bias(net, scale(net, bn_inference(net, value)))))
    keeps(graph, "fuse-batchnorm", layout)
    assert len(graph) == 3
    assert value.producer.provenance.absorbed == ("bninference", "scale", "bias")
    assert value.producer.weights["weight"].dtype == dtype


def bn_infer(net: GeNet, value: Value) -> Value:
    weights = {role: net.numbers(net.channels(value)) for role in ("scale", "offset", "mean", "variance")}
    return net.op("BNInfer", [value], weights, epsilon=1e-4)


def batch_norm(net: GeNet, value: Value) -> Value:
    count = net.channels(value)
    weights = {role: net.numbers(count).astype(np.float32) for role in ("scale", "offset", "mean", "variance")}
    return net.op("BatchNorm", [value], weights, outputs=6, is_training=False, data_format=net.layout)


def bias_add(net: GeNet, value: Value) -> Value:
    return net.op("BiasAdd", [value], {"bias": net.numbers(net.channels(value))}, data_format=net.layout)


def multiply(net: GeNet, value: Value) -> Value:
    return net.op("Mul", [value], {"x2": net.numbers(*net.shaped((1, net.channels(value), 1, 1)))})


def add(net: GeNet, value: Value) -> Value:
    return net.op("Add", [value], {"x2": net.numbers(*net.shaped((1, net.channels(value), 1, 1)))})


AFFINE: tuple[tuple[Callable[[GeNet, Value], Value], ...], ...] = (
    (bn_infer,),
    (batch_norm,),
    (bias_add, batch_norm),
    (multiply, add),
    (bn_infer, multiply, bias_add),
)


@both
@pytest.mark.parametrize("chain", AFFINE)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_ops_of_other_frameworks_are_folded_too(
    chain: tuple[Callable[[GeNet, Value], Value], ...], layout: str, dtype: str
) -> None:
    net = GeNet(layout, dtype)
    value = net.conv(net.data(1, 4, 6, 6), 6, bias=False)
    for step in chain:
        value = step(net, value)
    graph = net.finish(net.relu(value))
    keeps(graph, "fuse-batchnorm", layout)
    assert types(graph) == ["Data", "Conv2D", "Relu"]


def test_halves_that_would_become_infinite_are_not_folded() -> None:
    net = GeNet(dtype="float16")
    large = np.full((1, 6, 1, 1), 60000, np.float16)
    graph = net.finish(net.op("Mul", [net.conv(net.data(1, 4, 6, 6), 6)], {"x2": large}))
    weights = graph.node("conv2d").weights
    weights["weight"] = (4 * weights["weight"].astype(np.float32)).astype(np.float16)
    context = run_float(graph, "fuse-batchnorm")
    assert "the weights of `conv2d` would leave the range of float16" in {each.reason for each in context.refusals}
    assert types(graph) == ["Data", "Conv2D", "Mul"]


def test_a_batch_norm_whose_statistics_are_read_stays() -> None:
    net = GeNet()
    value = batch_norm(net, net.conv(net.data(1, 4, 6, 6), 6))
    graph = net.finish(value, value.producer.outputs[1])
    context = run_float(graph, "fuse-batchnorm")
    assert "its output `batchnorm:1` is read, too" in {each.reason for each in context.refusals}
    assert types(graph) == ["Data", "Conv2D", "BatchNorm"]


@both
def test_both_layouts_fold_to_the_same_numbers(layout: str) -> None:
    nets = [GeNet(each) for each in LAYOUTS]
    first, second = (net.finish(scale(net, bn_inference(net, net.conv(net.data(1, 4, 6, 6), 6)))) for net in nets)
    for graph in (first, second):
        run_passes(graph, "fuse-batchnorm")
    one, other = (graph.node("conv2d").weights for graph in (first, second))
    np.testing.assert_array_equal(one["weight"], other["weight"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(one["bias"], other["bias"])


@both
def test_a_scale_along_another_axis_is_left_alone(layout: str) -> None:
    net = GeNet(layout)
    value = net.conv(net.data(1, 4, 6, 6), 6)
    odd = net.op("Scale", [value], {"scale": net.numbers(6)}, axis=2)
    graph = net.finish(odd)
    keeps(graph, "fuse-batchnorm", layout)
    assert types(graph) == ["Data", "Conv2D", "Scale"]


@pytest.mark.parametrize(
    ("policy", "absorbed"),
    [
        ("do_fusion: false", ()),
        ('skip_fusion_layers: "scale"', ("bninference",)),
        ('skip_fusion_layers: "conv2d"', ()),
        ("", ("bninference", "scale")),
    ],
)
def test_the_policy_decides_what_is_fused(policy: str, absorbed: tuple[str, ...]) -> None:
    net = GeNet()
    graph = net.finish(scale(net, bn_inference(net, net.conv(net.data(1, 4, 6, 6), 6))))
    run_passes(graph, "fuse-batchnorm", policy)
    assert graph.node("conv2d").provenance.absorbed == absorbed


def test_a_convolution_that_had_no_bias_is_written_with_one() -> None:
    net = GeNet()
    graph = net.finish(bn_inference(net, net.conv(net.data(1, 4, 6, 6), 6, bias=False)))
    again = read_back(graph)
    run_passes(again, "fuse-batchnorm")
    model = written(again)
    conv = op_of(model, "conv2d")
    assert list(conv.input) == ["data:0", "conv2d_filter:0", "conv2d_bias:0", ""]
    assert op_of(model, "conv2d_bias").attr["value"].t.desc.shape.dim == [6]
    assert list(conv.is_input_const) == [False, True, True]
    assert conv.input_desc[2].dtype == 1


# -- the float pipeline ----------------------------------------------------------------------------


@both
def test_permutes_that_undo_each_other_and_identities_go(layout: str) -> None:
    net = GeNet(layout)
    value = net.relu(net.data(1, 4, 6, 6))
    value = net.op("Permute", [value], order=(0, 2, 3, 1))
    value = net.op("Permute", [value], order=(0, 3, 1, 2))
    graph = net.finish(net.op("Power", [net.relu(value)], power=1.0, scale=1.0, shift=0.0))
    keeps(graph, PIPELINES["float"], layout)
    assert types(graph) == ["Data", "Relu", "Relu"]


@both
def test_permutes_become_one(layout: str) -> None:
    net = GeNet(layout)
    value = net.op("Permute", [net.relu(net.data(1, 4, 6, 6))], order=(0, 2, 3, 1))
    graph = net.finish(net.op("Permute", [value], order=(0, 2, 1, 3)))
    keeps(graph, PIPELINES["float"], layout)
    assert types(graph) == ["Data", "Relu", "Permute"]
    assert graph.node("permute").attrs["order"] == (0, 3, 2, 1)


@both
def test_reshapes_become_one(layout: str) -> None:
    net = GeNet(layout)
    value = net.op("Flatten", [net.relu(net.data(1, 4, 6, 6))], axis=1)
    dims = np.array([0, 2, -1], np.int64)
    graph = net.finish(net.op("Reshape", [value], {"shape": dims}))
    keeps(graph, PIPELINES["float"], layout)
    assert types(graph) == ["Data", "Relu", "Reshape"]


@both
def test_maps_of_the_channels_become_one_scale(layout: str) -> None:
    net = GeNet(layout)
    graph = net.finish(net.relu(bias(net, scale(net, bn_inference(net, net.relu(net.data(1, 4, 6, 6)))))))
    keeps(graph, PIPELINES["float"], layout)
    assert types(graph) == ["Data", "Relu", "Scale", "Relu"]


@both
def test_a_chain_that_begins_with_batch_norm_of_another_framework_becomes_a_scale(layout: str) -> None:
    net = GeNet(layout)
    graph = net.finish(net.relu(multiply(net, bn_infer(net, net.relu(net.data(1, 4, 6, 6))))))
    keeps(graph, PIPELINES["float"], layout)
    assert types(graph) == ["Data", "Relu", "Scale", "Relu"]


@both
def test_what_no_output_needs_goes_without_a_silence(layout: str) -> None:
    net = GeNet(layout)
    value = net.relu(net.data(1, 4, 6, 6))
    net.op("Sigmoid", [net.conv(value, 3)], name="unread")
    graph = net.finish(net.op("Tanh", [value]))
    keeps(graph, "remove-dead", layout)
    assert types(graph) == ["Data", "Relu", "Tanh"]


def test_constants_are_computed_and_become_const_ops() -> None:
    net = GeNet()
    value = net.data(1, 4, 6, 6)
    constant = net.graph.add("numbers", "ge.Const", weights={"value": net.numbers(1, 4, 6, 6)}).output
    total = net.op("Eltwise", [value, net.relu(net.op("Sigmoid", [constant]))], N=2, mode=1)
    graph = net.finish(total)
    keeps(graph, PIPELINES["float"], NCHW)
    assert types(graph) == ["Data", "Const", "Eltwise"]
    assert list(op_of(written(graph), "eltwise").is_input_const) == [False, True]


def test_a_split_is_folded() -> None:
    net = GeNet()
    copy = net.op("Copy", [net.relu(net.data(1, 4, 6, 6))], outputs=2, N=2).producer
    graph = net.finish(net.op("Eltwise", [net.relu(copy.outputs[0]), copy.outputs[1]], N=2, mode=1))
    keeps(graph, PIPELINES["float"], NCHW)
    assert types(graph) == ["Data", "Relu", "Relu", "Eltwise"]


@both
def test_relu6_becomes_relu_and_layers_are_equalized(layout: str) -> None:
    net = GeNet(layout)
    value = net.conv(net.data(1, 4, 6, 6), 6)
    value = net.conv(net.pool(net.op("Relu6", [value])), 5)
    graph = net.finish(value)
    run_float(graph, "replace-relu6")
    assert types(graph) == ["Data", "Conv2D", "Relu", "Pooling", "Conv2D"]
    before = graph.node("conv2d").weights["weight"].copy()
    keeps(graph, "equalize-layers", layout)
    assert not np.array_equal(before, graph.node("conv2d").weights["weight"])


@both
def test_the_equalized_pipeline_corrects_biases(layout: str) -> None:
    net = GeNet(layout)
    value = net.conv(net.relu(net.conv(net.data(2, 4, 6, 6), 6)), 5, bias=False)
    graph = net.finish(value)
    feeds = [feed(layout, seed, 2, 4, 6, 6) for seed in range(3)]
    run_passes(graph, PIPELINES["ptq-equalized"], "", feeds)
    assert graph.node("conv2d_1").weights["bias"].dtype == np.int32
    (found,), (wanted,) = (outputs(each, feeds[0]).values() for each in (read_back(graph), graph))
    np.testing.assert_array_equal(found, wanted)


def test_clustered_weights_are_written_as_int8() -> None:
    net = GeNet()
    graph = net.finish(scale(net, bn_inference(net, net.conv(net.data(2, 4, 6, 6), 6))))
    feeds = [feed(NCHW, seed, 2, 4, 6, 6) for seed in range(2)]
    run_passes(graph, PIPELINES["ptq-nonuniform"], "common_config { snq_quantize { max_iteration: 500 } }", feeds)
    weight = graph.node("conv2d").weights["weight"]
    assert weight.dtype == np.int8
    assert max(len(np.unique(rows)) for rows in weight) <= 16
    (found,), (wanted,) = (outputs(each, feeds[0]).values() for each in (read_back(graph), graph))
    np.testing.assert_array_equal(found, wanted)


# -- control edges ---------------------------------------------------------------------------------


def waiting(source: str, reader: str, graph: Graph) -> Graph:
    note(graph.node(reader), controls=(source,))
    return graph


def _two_branches() -> tuple[GeNet, Value, Value]:
    net = GeNet()
    value = net.data(1, 4, 6, 6)
    folded = bn_inference(net, net.conv(value, 6))
    other = net.op("Sigmoid", [value], name="other")
    return net, folded, other


def test_what_waited_for_a_folded_layer_waits_for_the_one_that_took_it_in() -> None:
    net, folded, other = _two_branches()
    graph = waiting("bninference", "other", net.finish(folded, other))
    keeps(graph, "fuse-batchnorm", NCHW)
    assert "bninference" not in graph
    assert list(op_of(written(graph), "other").input) == ["data:0", "conv2d:-1"]


def test_a_layer_that_waits_is_not_folded() -> None:
    net, folded, other = _two_branches()
    graph = waiting("other", "bninference", net.finish(folded, other))
    context = run_passes(graph, "fuse-batchnorm")
    assert "a control edge lets it wait for `other`" in {each.reason for each in context.refusals}
    assert list(op_of(written(graph), "bninference").input)[-1] == "other:-1"


def test_a_dead_layer_that_others_wait_for_stays() -> None:
    net, folded, _ = _two_branches()
    graph = waiting("other", "conv2d", net.finish(folded))
    keeps(graph, PIPELINES["float"], NCHW)
    assert "other" in graph
    assert list(op_of(written(graph), "conv2d").input)[-1] == "other:-1"


def test_an_identity_with_control_edges_stays() -> None:
    net = GeNet()
    value = net.data(1, 4, 6, 6)
    idle = net.op("Power", [net.relu(value)], name="idle", power=1.0, scale=1.0, shift=0.0)
    graph = net.finish(net.op("Tanh", [idle]), net.op("Sigmoid", [value], name="other"))
    waiting("idle", "other", graph)
    context = run_float(graph, PIPELINES["float"])
    assert "idle" in graph
    assert "a control edge lets `other` wait for it" in {each.reason for each in context.refusals}


def test_control_edges_of_quantized_layers_are_written() -> None:
    net, folded, other = _two_branches()
    graph = read_back(waiting("other", "conv2d", net.finish(net.relu(folded), other)))
    quantize(graph, [feed(NCHW, seed) for seed in range(2)])
    model = written(graph)
    assert list(op_of(model, "conv2d").input)[-1] == "other:-1"
    assert not any(text.endswith(":-1") for text in op_of(model, "conv2d.quant").input)
