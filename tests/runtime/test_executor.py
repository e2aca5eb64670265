"""What the executor takes, gives and refuses; semantics of Caffe that no recorded net shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_table
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape
from amctc.runtime import plan
from amctc.runtime.executor import Executor, run_graph
from amctc.runtime.hostops import HostOp, for_op, host_ops_of
from amctc.runtime.lowering import RULES, lower
from amctc.runtime.lowering.onnx_nodes import ONNX_RULES
from tests.nets import conv, data, layer, make_net
from tests.passes.pass_graphs import SHAPE, chain, normalized
from tests.runtime.nets import add_input, one_layer, random


def test_every_op_of_the_table_runs_in_one_way_and_nothing_else_does() -> None:
    by_host = {op.name for dialect in ("caffe", "onnx", "ge") for op in host_ops_of(dialect) if "." in op.name}
    # In float ONNX runs its recurrent layers, and with integers the host does.
    assert by_host & set(RULES) == {"onnx.GRU", "onnx.LSTM", "onnx.RNN"}
    # An op that is like another dialect's is run as that.
    own = {name for name, row in op_table().items() if not name.startswith("onnx.") and row.likeness is None}
    assert by_host | set(RULES) == own | set(ONNX_RULES)


def test_a_batch_of_another_length_is_run_as_it_is() -> None:
    weights = {"weight": random((4, 6)), "bias": random((4,))}
    graph = one_layer("InnerProduct", (2, 3, 2), {"inner_product_param": {"num_output": 4}}, weights)
    executor = Executor(graph)
    for count in (5, 1, 5, 2, 3):
        x = random((count, 3, 2), count)
        expected = x.reshape(count, 6) @ weights["weight"].T + weights["bias"]
        np.testing.assert_allclose(executor.run({"data": x})[graph.outputs[0]], expected, rtol=1e-5, atol=1e-6)


def test_a_session_may_be_built_before_its_step_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {"weight": random((4, 6)), "bias": random((4,))}
    graph = one_layer("InnerProduct", (2, 3, 2), {"inner_product_param": {"num_output": 4}}, weights)
    executor = Executor(graph)
    x = random((2, 3, 2))
    expected = executor.run({"data": x})[graph.outputs[0]]
    executor = Executor(graph)
    executor.prepare(0)
    monkeypatch.setattr("amctc.runtime.executor.Session", None)
    np.testing.assert_array_equal(executor.run({"data": x})[graph.outputs[0]], expected)


def test_what_cannot_be_built_beforehand_is_an_error_where_it_is_run() -> None:
    graph = one_layer("InnerProduct", (2, 3, 2), {"inner_product_param": {"num_output": 4}}, {})
    executor = Executor(graph)
    executor.prepare(0)
    with pytest.raises(DiagnosticError, match="AM420"):
        executor.run({"data": random((2, 3, 2))})


def test_given_shapes_replace_the_declared_ones() -> None:
    graph = one_layer("Pooling", (1, 2, 4, 4), {"pooling_param": {"global_pooling": True}})
    executor = Executor(graph, shapes={"data": (1, 2, 9, 5)})
    assert executor.run({"data": random((3, 2, 9, 5))})[graph.outputs[0]].shape == (3, 2, 1, 1)
    with pytest.raises(DiagnosticError, match="AM402"):
        executor.run({"data": random((1, 2, 4, 4))})


def test_an_in_place_blob_holds_its_last_value() -> None:
    graph = Graph("net")
    data = add_input(graph, (3,))
    power = graph.add("p", "caffe.Power", [data.output], ["data"], attrs={"power_param": {"shift": 1.0}})
    graph.add("r", "caffe.ReLU", [power.output], ["data"])
    found = run_graph(graph, {"data": [-3, 0, 2]})
    assert {name: array.tolist() for name, array in found.items()} == {"data": [0, 1, 3]}


def test_an_input_may_be_fetched() -> None:
    graph = one_layer("ReLU", (2,))
    values = [graph.node("data").output, graph.node("layer").output]
    found = Executor(graph, fetch=values).run({"data": np.array([-1, 1], np.float32)})
    assert [found[value].tolist() for value in values] == [[-1, 1], [0, 1]]


def test_only_what_is_fetched_needs_feeding() -> None:
    graph = one_layer("ReLU", (2,))
    add_input(graph, (7,), "other")
    assert run_graph(graph, {"data": [1, 2]}, ["out"])["out"].tolist() == [1, 2]


def test_observers_are_left_alone() -> None:
    graph = one_layer("ReLU", (2,))
    graph.add("observer", "quant.Observe", [graph.node("layer").output], [])
    assert run_graph(graph, {"data": [1, -2]})["out"].tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float64", "float16", "bool"])
def test_numbers_that_float32_holds_are_converted(dtype: str) -> None:
    graph = one_layer("ReLU", (2,))
    assert run_graph(graph, {"data": np.array([0, 1]).astype(dtype)})["out"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "AM400.*the input `data` is not fed; it is 2x3"),
        ({"dats": np.zeros((2, 3))}, r"AM401.*no input `dats`(.|\n)*did you mean `data`"),
        ({"data": np.zeros((2, 4))}, "AM402.*the input `data` is 2x3, not 2x4"),
        ({"data": np.zeros(3)}, "AM402.*the input `data` is 2x3, not 3"),
        ({"data": np.zeros((0, 3))}, "AM402.*are empty"),
        ({"data": np.full((2, 3), 2**24 + 1)}, "AM442.*the integer 16777217"),
        ({"data": np.full((2, 3), -(2**63))}, "AM442.*the integer 9223372036854775808"),
        ({"data": np.zeros((2, 3), complex)}, "AM442.*complex128"),
        ({"data": np.full((2, 3), "a")}, "AM442.*not numbers"),
        ({"data": np.array([[1, 2, 3], [4, np.nan, 6]])}, r"AM404.*hold nan at \[1, 1\]"),
        ({"data": np.full((2, 3), -np.inf)}, r"AM404.*hold -inf at \[0, 0\]"),
        ({"data": np.full((2, 3), 1e300)}, r"AM404.*hold 1e\+300 at \[0, 0\]"),
    ],
)
def test_a_wrong_feed_is_explained(feeds: dict[str, Array], words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        run_graph(one_layer("ReLU", (2, 3)), feeds)
    assert re.search(words, str(caught.value))


def test_all_wrong_feeds_are_told_at_once() -> None:
    graph = one_layer("ReLU", (2,))
    other = add_input(graph, (7,), "other")
    graph.outputs.append(graph.add("more", "caffe.ReLU", [other.output], ["more"]).output)
    with pytest.raises(DiagnosticError) as caught:
        run_graph(graph, {"data": [1, 2, np.nan], "else": [1]})
    assert [d.code for d in caught.value.diagnostics] == ["AM401", "AM404", "AM400"]


def test_an_unknown_blob_names_the_nearest_one() -> None:
    with pytest.raises(DiagnosticError, match=r"AM408(.|\n)*did you mean `data`"):
        run_graph(one_layer("ReLU", (2,)), {"data": [1, 2]}, ["dota"])


def test_a_layer_without_weights_cannot_be_run() -> None:
    graph = one_layer("InnerProduct", (2, 3), {"inner_product_param": {"num_output": 4}})
    with pytest.raises(DiagnosticError, match=r"AM420.*`layer` \(InnerProduct\): has no weight"):
        run_graph(graph, {"data": random((2, 3))})


def test_a_batch_that_a_fixed_reshape_cannot_take_is_refused() -> None:
    graph = one_layer("Reshape", (2, 3), {"reshape_param": {"shape": {"dim": (3, 2)}}})
    with pytest.raises(DiagnosticError, match=r"AM320.*`layer` \(Reshape\)"):
        run_graph(graph, {"data": random((3, 3))})


def test_a_host_op_of_the_user_takes_over_its_nodes() -> None:
    def double(node: Node, inputs: tuple[Array, ...], shapes: tuple[Shape, ...]) -> tuple[Array, ...]:
        return (np.asarray(inputs[0], np.float32) * 2,)

    graph = Graph("net")
    data = add_input(graph, (2,))
    before = graph.add("before", "caffe.ReLU", [data.output])
    custom = graph.add("custom", "caffe.AbsVal", [before.output])
    after = graph.add("after", "caffe.Power", [custom.output], attrs={"power_param": {"shift": 1.0}})
    graph.add("sum", "caffe.Eltwise", [after.output, before.output])
    host: HostOp = for_op("caffe.AbsVal", double)
    assert run_graph(graph, {"data": [-1, 3]}, ["sum"], host_ops=[host])["sum"].tolist() == [1, 10]
    executor = Executor(graph, fetch=[graph.node("sum").output], host_ops=[host])
    assert [type(step).__name__ for step in executor.steps] == ["Segment", "HostStep", "Segment"]


def test_layer_names_that_would_clash_as_onnx_names_are_kept_apart() -> None:
    graph = Graph("net")
    data = add_input(graph, (2,))
    split = graph.add("a", "caffe.Split", [data.output], ["x", "y"])
    odd = graph.add("a:1", "caffe.Power", [split.outputs[0]], attrs={"power_param": {"scale": 3.0}})
    empty = graph.add("", "caffe.ReLU", [odd.output], ["e"])
    graph.add("mul", "caffe.Power", [empty.output], attrs={"power_param": {"scale": 2.0, "shift": 1.0}})
    found = run_graph(graph, {"data": [1, -1]})
    assert found["y"].tolist() == [1, -1]
    assert found["a:1"].tolist() == [3, -3]
    assert found["mul"].tolist() == [7, 1]


def test_lower_gives_a_model_that_onnx_accepts_and_that_holds_its_weights(tmp_path: Path) -> None:
    weights = {"weight": random((32, 16, 3, 3)), "bias": random((32,))}
    parameter: dict[str, Any] = {"convolution_param": {"num_output": 32, "kernel_size": (3,), "pad": (1,)}}
    graph = one_layer("Convolution", (1, 16, 5, 5), parameter, weights)
    model = lower(graph, infer_shapes(graph))
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    x = random((1, 16, 5, 5))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["layer"], {"data": x})
    np.testing.assert_array_equal(found, run_graph(graph, {"data": x}, ["out"])["out"])


def test_windows_far_behind_the_image_give_minus_zero_and_minus_flt_max() -> None:
    # Rows start at 0, 4 and 8 of 6: Caffe divides the empty sum of the last by (6 - 8) * 1.
    fields: dict[str, Any] = {"kernel_size": 1, "stride": 4}
    x = {"data": np.ones((1, 1, 6, 5), np.float32)}
    average = run_graph(one_layer("Pooling", (1, 1, 6, 5), {"pooling_param": {"pool": 1, **fields}}), x)["out"]
    assert average[0, 0].tolist() == [[1, 1], [1, 1], [0, 0]]
    assert np.signbit(average[0, 0, 2]).all()
    largest = run_graph(one_layer("Pooling", (1, 1, 6, 5), {"pooling_param": fields}), x)["out"]
    assert largest[0, 0, 2].tolist() == [np.finfo(np.float32).min] * 2


def test_a_mask_of_an_empty_window_is_minus_one() -> None:
    graph = Graph("net")
    data = add_input(graph, (1, 1, 6, 5))
    attrs: dict[str, Any] = {"pooling_param": {"kernel_size": 1, "stride": 4}}
    graph.add("pool", "caffe.Pooling", [data.output], ["top", "mask"], attrs=attrs)
    found = run_graph(graph, {"data": np.arange(30).reshape(1, 1, 6, 5)})
    assert found["mask"][0, 0].tolist() == [[0, 4], [20, 24], [-1, -1]]


@pytest.mark.parametrize(
    ("operation", "place", "expected"),
    [
        (1, 0, lambda a, b, c: b + c),
        (1, 1, lambda a, b, c: 2 * a + c),
        (1, 2, lambda a, b, c: 2 * (a + b)),
        (0, 0, lambda a, b, c: a * b * c),
        (0, 2, lambda a, b, c: (a * b) ** 2),
        (2, 0, lambda a, b, c: np.maximum(b, c)),
    ],
)
def test_eltwise_in_place_reads_what_caffe_reads(
    operation: int, place: int, expected: Callable[..., np.typing.NDArray[np.float32]]
) -> None:
    graph = Graph("net")
    blobs = ("a", "b", "c")
    values = [add_input(graph, (5,), name).output for name in blobs]
    attrs: dict[str, Any] = {"eltwise_param": {"operation": operation}}
    layer = graph.add("layer", "caffe.Eltwise", values, [blobs[place]], attrs=attrs)
    arrays = [random((5,), seed) for seed in range(3)]
    feeds: dict[str, Array] = dict(zip(blobs, arrays, strict=True))
    found = Executor(graph, fetch=[layer.output]).run(feeds)[layer.output]
    np.testing.assert_allclose(found, expected(*arrays), rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        layer("bias", "Bias", "data", "out", "bias_param { axis: 0 }"),
        layer("fc", "InnerProduct", "data", "out", "inner_product_param { num_output: 2 axis: 0 }"),
    ],
)
def test_weights_along_the_batch_refuse_a_batch_of_another_size(text: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 3") + text)
    run_graph(graph, {"data": np.zeros((2, 3), np.float32)})
    with pytest.raises(DiagnosticError, match="AM320"):
        run_graph(graph, {"data": np.zeros((4, 3), np.float32)})


def test_a_very_large_graph_runs_in_several_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain(normalized, 300)
    feeds = {"Input1": np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)}
    whole = Executor(graph)
    monkeypatch.setattr(plan, "MOST_NODES", 40)
    cut = Executor(graph)
    assert len(whole.steps) == 1
    assert len(cut.steps) == -(-len(whole.steps[0].nodes) // 40) > 3
    (one,), (other,) = whole.run(feeds).values(), cut.run(feeds).values()
    assert np.abs(one - other).max() <= 2e-6 * np.abs(one).max()


def test_batches_that_run_together_give_what_each_gives_alone(tmp_path: Path) -> None:
    graph = make_net(
        tmp_path, data("2 3 8 8") + conv("a", "data", 4) + layer("r", "ReLU", "a", "r") + conv("b", "r", 2)
    )
    nodes = [graph.node("a"), graph.node("b")]
    fetch = [node.output for node in nodes]
    feeds = [{"data": np.random.default_rng(seed).normal(size=(2, 3, 8, 8)).astype(np.float32)} for seed in range(3)]
    executor = Executor(graph, fetch=fetch, apart=nodes)
    seen: dict[str, list[NDArray[Any]]] = {}

    def look(values: tuple[Value, ...], alive: Sequence[dict[Value, NDArray[Any]]]) -> None:
        for value in values:
            seen[value.name] = [arrays[value] for arrays in alive]
            for arrays in alive:
                arrays[value] = arrays[value] + np.float32(value.name == "a")

    executor.run_together(feeds, look)
    assert list(seen) == ["a", "b"]
    shifted = graph.node("a").weights["bias"].astype(np.float32) + 1
    usual = [Executor(graph, fetch=fetch).run(each) for each in feeds]
    graph.node("a").weights["bias"] = shifted
    for number, each in enumerate(feeds):
        np.testing.assert_array_equal(seen["a"][number], usual[number][fetch[0]])
        np.testing.assert_allclose(seen["b"][number], Executor(graph, fetch=fetch).run(each)[fetch[1]], atol=1e-4)
    # the input and what `a` gives of it; then that and what the second session makes of it
    assert executor.bytes_alive({"data": (2, 3, 8, 8)}) == 4 * 2 * max(3 * 64 + 4 * 36, 4 * 36 + 2 * 16)
