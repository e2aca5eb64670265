"""LSTM, RNN, GRU and LSTMUnit: what they refuse, and what they compute against definitions written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.runtime.executor import Executor, run_graph
from amctc.runtime.hostops import host_ops_of
from tests.nets import data, make_net

Floats = NDArray[np.float32]


def recurrent(kind: str, bottoms: str = "x cont", tops: str = "out", more: str = "", units: int = 4) -> str:
    reads = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    writes = " ".join(f'top: "{name}"' for name in tops.split())
    return f'layer {{ name: "rec" type: "{kind}" {reads} {writes} recurrent_param {{ num_output: {units} {more} }} }}\n'


def net(kind: str, x: str = "5 2 3", cont: str = "5 2", **given: Any) -> str:
    return data(x, "x") + data(cont, "cont") + recurrent(kind, **given)


def with_everything(kind: str) -> str:
    """A net with a static input and exposed states."""
    inputs = data("5 2 2 3", "x") + data("5 2", "cont") + data("2 6", "static")
    states = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    last = " ".join(["out", *(f"{name[0]}T" for name in states)])
    inputs += "".join(data("1 2 4", name) for name in states)
    return inputs + recurrent(kind, f"x cont static {' '.join(states)}", last, "expose_hidden: true")


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    found = {
        value.blob: rng.normal(size=value.shape or ()).astype(np.float32)
        for node in graph
        if not node.inputs
        for value in node.outputs
    }
    found["cont"] = rng.integers(0, 2, found["cont"].shape).astype(np.float32)
    return found


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(x / 2))


def gru_by_definition(graph: Graph, feeds: dict[str, Floats], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit by unit, in float64, the reset before the product."""
    weights = {role: array.astype(np.float64) for role, array in graph.node("rec").weights.items()}
    x = feeds["x"].reshape(*feeds["x"].shape[:2], -1).astype(np.float64)
    time, streams, units = x.shape[0], x.shape[1], h.shape[1]
    found = np.zeros((time, streams, units))
    for t in range(time):
        for n in range(streams):
            before = feeds["cont"][t, n] * h[n]
            given = weights["x_weight"] @ x[t, n] + weights["x_bias"]
            if "static_weight" in weights:
                given = given + weights["static_weight"] @ feeds["static"][n].reshape(-1)
            of_z, of_r, of_n = np.split(weights["h_weight"], 3)
            for_z, for_r, for_n = np.split(given, 3)
            z, r = sigmoid(for_z + of_z @ before), sigmoid(for_r + of_r @ before)
            found[t, n] = (1 - z) * np.tanh(for_n + of_n @ (r * before)) + z * before
        h = found[t]
    return found


def test_a_gru_is_what_its_notes_say(tmp_path: Path) -> None:
    graph = make_net(tmp_path, with_everything("GRU"))
    assert [array.shape for array in graph.node("rec").weights.values()] == [(12, 6), (12,), (12, 6), (12, 4)]
    feeds = random_inputs(graph)
    expected = gru_by_definition(graph, feeds, feeds["h0"][0].astype(np.float64))
    found = run_graph(graph, feeds)
    np.testing.assert_allclose(found["out"], expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(found["hT"][0], found["out"][-1])


def test_a_gru_is_onnx_gru_without_linear_before_reset(tmp_path: Path) -> None:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    graph = make_net(tmp_path, net("GRU"))
    feeds = {**random_inputs(graph), "cont": np.ones((5, 2), np.float32)}
    weights = graph.node("rec").weights
    bias = np.concatenate([weights["x_bias"], np.zeros(12, np.float32)])
    given = {"X": feeds["x"], "W": weights["x_weight"][None], "R": weights["h_weight"][None], "B": bias[None]}
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in given.items()]
    top = helper.make_tensor_value_info("Y", TensorProto.FLOAT, (5, 1, 2, 4))
    node = helper.make_node("GRU", [*given], ["Y"], hidden_size=4, linear_before_reset=0)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(helper.make_graph([node], "gru", inputs, [top]), opset_imports=opset, ir_version=8)
    session: Any = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, given)
    np.testing.assert_allclose(run_graph(graph, feeds)["out"], expected[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_two_batches_of_an_executor_are_one_long_batch(kind: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, net(kind))
    feeds = {**random_inputs(graph), "cont": np.ones((5, 2), np.float32)}
    whole = run_graph(graph, feeds)["out"]
    executor = Executor(graph)
    parts = [executor.run({name: array[part] for name, array in feeds.items()}) for part in (slice(2), slice(2, 5))]
    found = np.concatenate([array for part in parts for array in part.values()])
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(run_graph(graph, feeds)["out"], whole)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_cont_0_forgets_what_was_before(kind: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, net(kind))
    feeds = random_inputs(graph)
    feeds["cont"] = np.ones((5, 2), np.float32)
    feeds["cont"][3] = 0
    whole = run_graph(graph, feeds)["out"]
    rest = run_graph(graph, {name: array[3:] for name, array in feeds.items()})["out"]
    np.testing.assert_allclose(whole[3:], rest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_gates_far_beyond_the_range_of_exp_are_closed_or_open(kind: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, net(kind))
    feeds = random_inputs(graph)
    feeds["x"] = feeds["x"] * 1e6
    found = run_graph(graph, feeds)["out"]
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1


def test_exposed_states_of_an_lstm_come_from_and_go_to_blobs(tmp_path: Path) -> None:
    graph = make_net(tmp_path, with_everything("LSTM"))
    feeds = {**random_inputs(graph), "cont": np.ones((5, 2), np.float32)}
    found = run_graph(graph, feeds)
    first = {name: array[:2] if name in ("x", "cont") else array for name, array in feeds.items()}
    half = run_graph(graph, first)
    second = {name: array[2:] if name in ("x", "cont") else array for name, array in feeds.items()}
    rest = run_graph(graph, {**second, "h0": half["hT"], "c0": half["cT"]})
    np.testing.assert_allclose(rest["cT"], found["cT"], rtol=0, atol=2e-6)
    executor = Executor(graph)
    once, again = executor.run(first), executor.run(first)
    assert all(np.array_equal(once[value], again[value]) for value in once)


def test_a_step_without_streams_does_not_fail(tmp_path: Path) -> None:
    for kind in ("LSTM", "RNN", "GRU"):
        node = make_net(tmp_path, net(kind)).node("rec")
        x, cont = (np.zeros(shape, np.float32) for shape in ((5, 0, 3), (5, 0)))
        op = next(op for op in host_ops_of(node.dialect) if op.applies(node, {}))
        (top,) = op.run(node, (x, cont), ((5, 0, 4),))
        assert top.shape == (5, 0, 4)


REFUSED: list[tuple[str, str]] = [
    (net("LSTM", units=0), "`num_output` must be given and positive"),
    (net("LSTM", x="5 2"), "takes x with at least 3 axes"),
    (net("GRU", cont="5 3"), r"cont must be 5x2 \(time, streams\), not 5x3"),
    (net("RNN", cont="5 2 1"), "cont must be 5x2"),
    (net("LSTM", more="expose_hidden: true"), "takes 4 inputs, or 5 with a static one, with `expose_hidden: true`"),
    (net("RNN", tops="out hT"), "has 1 output with `expose_hidden: false`; this layer has 2"),
    (data("3 6", "s") + net("LSTM", bottoms="x cont s"), "the first for the 2 streams; it is 3x6"),
    (data("2", "s") + net("LSTM", bottoms="x cont s"), "the static input must have at least 2 axes"),
    (
        data("1 2 5", "h") + net("GRU", bottoms="x cont h", tops="out hT", more="expose_hidden: true"),
        "an initial state must be 1x2x4; input 2 is 1x2x5",
    ),
    (net("LSTM", bottoms="x"), "takes 2 to 5 bottoms"),
    (net("LSTM", units=4_000_000_000), "more than the 2147483647"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_caffe_would_refuse_is_refused_with_a_reason(text: str, words: str, tmp_path: Path) -> None:
    model = tmp_path / "net.prototxt"
    model.write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError, match=words):
        load_model(model)


@pytest.mark.parametrize(
    ("c_prev", "gates", "cont", "words"),
    [
        ("1 2", "1 2 16", "1 2", "takes a blob of 3 axes"),
        ("2 2 4", "2 2 16", "2 2", "the first axis of c_prev is the time step"),
        ("1 2 4", "1 2 15", "1 2", "the gates must be 1x2x16, not 1x2x15"),
        ("1 2 4", "1 2 16", "1 3", "cont must be 1x2, not 1x3"),
    ],
)
def test_an_lstm_unit_refuses_other_shapes(c_prev: str, gates: str, cont: str, words: str, tmp_path: Path) -> None:
    text = data(c_prev, "c_prev") + data(gates, "gates") + data(cont, "cont")
    text += 'layer { name: "u" type: "LSTMUnit" bottom: "c_prev" bottom: "gates" bottom: "cont" top: "c" top: "h" }'
    model = tmp_path / "net.prototxt"
    model.write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError, match=words):
        load_model(model)


def test_an_lstm_is_a_chain_of_lstm_units(tmp_path: Path) -> None:
    graph = make_net(tmp_path, net("LSTM", x="1 2 3", cont="1 2"))
    weights = {role: array.astype(np.float32) for role, array in graph.node("rec").weights.items()}
    feeds = random_inputs(graph)
    gates = feeds["x"] @ weights["x_weight"].T + weights["x_bias"]
    text = data("1 2 4", "c_prev") + data("1 2 16", "gates") + data("1 2", "cont")
    text += 'layer { name: "u" type: "LSTMUnit" bottom: "c_prev" bottom: "gates" bottom: "cont" top: "c" top: "h" }'
    unit = make_net(tmp_path, text)
    given = {"c_prev": np.zeros((1, 2, 4), np.float32), "gates": gates, "cont": feeds["cont"]}
    np.testing.assert_allclose(run_graph(unit, given)["h"], run_graph(graph, feeds)["out"], rtol=0, atol=1e-6)
