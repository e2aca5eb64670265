"""LSTM, RNN and GRU quantized: what is annotated and observed, the integers, the files and the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import inner_products
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.records.quant_param import quant_param_record
from amctc.records.scale_offset import scale_offset_record
from amctc.runtime.executor import run_graph
from amctc.runtime.hostops.recurrent_products import product_of
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.nets import make_net
from tests.quantized import quantize, run_passes, write_and_read
from tests.runtime.test_recurrent_layers import net, random_inputs, sigmoid, with_everything

KINDS = ["LSTM", "RNN", "GRU"]
POLICIES = {
    "8 bits with offset": "",
    "8 bits": "activation_offset: false",
    "16 bits": "common_config { ifmr_quantize { num_bits: 16 } }",
    "12 bits without offset": "activation_offset: false common_config { ifmr_quantize { num_bits: 12 } }",
}

Feeds = Mapping[str, NDArray[np.float32]]


def quantized(folder: Path, text: str, policy: str = "") -> tuple[Graph, Feeds]:
    graph = make_net(folder, text)
    feeds = random_inputs(graph)
    quantize(graph, [feeds], policy)
    return graph, feeds


def by_int64(node: Node, feeds: Feeds) -> NDArray[np.float64]:
    """The first top of a quantized layer, with integer sums in int64 and everything else in float64."""
    assert node.quant is not None and node.quant.weight is not None
    quant, scales = node.quant, node.quant.weight.scales
    weights = {role: array.astype(np.int64) for role, array in node.weights.items()}

    def multiply(role: str, bias: str | None, index: int, x: NDArray[Any], rows: slice = slice(None)) -> NDArray[Any]:
        grid = quant.operand(index)
        assert grid.scale is not None and grid.offset is not None
        low, high = -(1 << (grid.bits - 1)), (1 << (grid.bits - 1)) - 1
        factor = np.float32(1) / np.float32(grid.scale)
        q = np.clip(np.rint(x.astype(np.float32) * factor).astype(np.int64) + grid.offset, low, high)
        sums = (q - grid.offset) @ weights[role][rows].T + (0 if bias is None else weights[bias][rows])
        return np.asarray(sums * np.float64(np.float32(grid.scale) * scales[role][0]))

    x, cont, state = feeds["x"], feeds["cont"], len(node.inputs)
    given = multiply("x_weight", "x_bias", 0, x.reshape(*x.shape[:2], -1))
    if "static_weight" in weights:
        given = given + multiply("static_weight", None, 2, feeds["static"].reshape(x.shape[1], -1))
    units = node.outputs[0].shape[2] if node.outputs[0].shape is not None else 0
    zero = np.zeros((x.shape[1], units))
    h, c = (np.asarray(feeds[name][0], np.float64) if name in feeds else zero for name in ("h0", "c0"))
    tops: list[NDArray[Any]] = []
    for sums, each in zip(given, cont[..., None].astype(np.float64), strict=True):
        h = each * h
        if node.type == "GRU":
            z, r = np.split(
                sigmoid(sums[:, : 2 * units] + multiply("h_weight", None, state, h, slice(2 * units))), 2, 1
            )
            rest = slice(2 * units, None)
            h = (1 - z) * np.tanh(sums[:, rest] + multiply("h_weight", None, state, r * h, rest)) + z * h
        elif node.type == "RNN":
            h = np.tanh(sums + multiply("h_weight", None, state, h))
        else:
            i, f, o, g = np.split(sums + multiply("h_weight", None, state, h), 4, axis=1)
            c = each * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        tops.append(np.tanh(multiply("o_weight", "o_bias", state, h)) if node.type == "RNN" else h)
    return np.stack(tops)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_layer_sums_integers(kind: str, policy: str, tmp_path: Path) -> None:
    graph, feeds = quantized(tmp_path, with_everything(kind), policy)
    found = run_graph(graph, feeds)["out"]
    np.testing.assert_allclose(found, by_int64(graph.node("rec"), feeds), rtol=0, atol=3e-6)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_deploy_and_fake_quant_files_give_the_very_numbers_of_the_graph(kind: str, policy: str, tmp_path: Path) -> None:
    for text in (net(kind), with_everything(kind)):
        graph, feeds = quantized(tmp_path, text, policy)
        deploy, fake = write_and_read(graph, tmp_path)
        expected = run_graph(graph, feeds)
        for read in (deploy, fake):
            found = run_graph(read, feeds)
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[blob], expected[blob]) for blob in found)
        weights, floats = deploy.node("rec").weights, fake.node("rec").weights
        assert {role: array.dtype.name for role, array in weights.items()} == {
            role: "int32" if role.endswith("bias") else "int8" for role in weights
        }
        assert all(array.dtype == np.float32 and np.array_equal(array, weights[r]) for r, array in floats.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_layer_stays_close_to_the_float_one(kind: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, with_everything(kind))
    feeds = random_inputs(graph)
    feeds["h0"] = np.tanh(feeds["h0"])  # a hidden state of another layer never leaves the grid of this one
    plain = run_graph(graph, feeds)["out"]
    for bits in (8, 16):
        again = make_net(tmp_path, with_everything(kind))
        quantize(again, [feeds], f"common_config {{ ifmr_quantize {{ num_bits: {bits} }} }}")
        error = np.abs(run_graph(again, feeds)["out"] - plain).max()
        assert 0 < error < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_inner_product_has_a_weight_scale_and_its_bias_is_on_its_own_grid(kind: str, tmp_path: Path) -> None:
    plain = make_net(tmp_path, with_everything(kind))
    graph, _ = quantized(tmp_path, with_everything(kind))
    node = graph.node("rec")
    quant = node.quant
    assert quant is not None and quant.weight is not None
    products = inner_products(node)
    assert [p.weight for p in products] == ["x_weight", "static_weight", "h_weight", "o_weight"][: len(products)]
    for product in products:
        scale = quant.weight.scales[product.weight]
        weight = plain.node("rec").weights[product.weight].astype(np.float32)
        assert scale.shape == (1,)
        assert np.abs(node.weights[product.weight].astype(np.float32) * scale - weight).max() <= scale[0] * 0.5001
        if product.bias is not None:
            step = np.float32(quant.operand(product.operand).scale or 0) * scale[0]
            bias = plain.node("rec").weights[product.bias].astype(np.float32)
            np.testing.assert_array_equal(node.weights[product.bias], np.rint(bias / step).astype(np.int32))


@pytest.mark.parametrize(
    ("kind", "observed"),
    [("LSTM", ["x", "static", "out"]), ("GRU", ["x", "static", "out"]), ("RNN", ["x", "static"])],
)
def test_data_and_the_hidden_state_are_observed_but_cont_and_initial_states_are_not(
    kind: str, observed: list[str], tmp_path: Path
) -> None:
    graph = make_net(tmp_path, with_everything(kind))
    run_passes(graph, "annotate-quant,quantize-weights,observe")
    assert [node.inputs[0].blob for node in graph.nodes if node.op == "quant.Observe"] == observed


def test_the_hidden_state_of_an_rnn_takes_its_whole_range_and_says_so(tmp_path: Path) -> None:
    for policy, scale, offset in (("", 2 / 255, -1), ("activation_offset: false", 1 / 127, 0)):
        graph, _ = quantized(tmp_path, net("RNN"), policy)
        node = graph.node("rec")
        assert node.quant is not None and node.quant.state is not None
        assert (node.quant.state.index, node.quant.state.offset) == (2, offset)
        assert node.quant.state.scale == pytest.approx(scale, rel=1e-6)
        said = [change.what for change in node.provenance.changes if change.by == "calibrate"]
        assert len(said) == 2
        assert said[1].startswith("hidden state") and "whole range -1 … 1" in said[1]


def test_the_layer_says_which_pass_and_which_rule_changed_it(tmp_path: Path) -> None:
    graph, _ = quantized(tmp_path, net("LSTM"))
    by = [change.by for change in graph.node("rec").provenance.changes]
    passes = ["annotate-quant", "quantize-weights", "calibrate", "calibrate", "quantize-bias", "insert-quant"]
    assert by == passes
    assert not any(node.dialect == "quant" for node in graph.nodes)


def test_a_quantized_graph_reads_back_from_its_text(tmp_path: Path) -> None:
    graph, _ = quantized(tmp_path, with_everything("LSTM"))
    text = print_graph(graph)
    assert parse_graph(SourceFile("net.txt", text)) == graph


def test_calibration_sees_the_quantized_weights(tmp_path: Path) -> None:
    graph = make_net(tmp_path, net("GRU"))
    feeds = random_inputs(graph)
    plain = run_graph(graph, feeds)["out"]
    run_passes(graph, "annotate-quant,quantize-weights")
    node = graph.node("rec")
    assert node.weights["h_weight"].dtype == np.int8
    assert node.quant is not None and node.quant.weight is not None
    changed = run_graph(graph, feeds)["out"]
    for role, scale in node.quant.weight.scales.items():
        node.weights[role] = node.weights[role].astype(np.float32) * scale
    np.testing.assert_array_equal(run_graph(graph, feeds)["out"], changed)
    assert 0 < np.abs(changed - plain).max() < 0.05
    node.weights["h_weight"] = node.weights["h_weight"].astype(np.int8)
    node.quant = None
    with pytest.raises(DiagnosticError, match=r"AM432.*`rec`"):
        run_graph(graph, feeds)


@pytest.mark.parametrize("kind", KINDS)
def test_one_scale_for_all_weights_is_all_that_such_a_layer_has(kind: str, tmp_path: Path) -> None:
    graph, _ = quantized(tmp_path, net(kind), "common_config { arq_quantize { channel_wise: true } }")
    quant = graph.node("rec").quant
    assert quant is not None and quant.weight is not None and not quant.weight.channel_wise
    for algorithm, code in (("arq_quantize { channel_wise: true }", "AM227"), ("snq_quantize { }", "AM226")):
        said = f"override_layer_types {{ layer_type: '{kind}' calibration_config {{ {algorithm} }} }}"
        with pytest.raises(DiagnosticError, match=code):
            quantized(tmp_path, net(kind), said)


def test_records_number_the_hidden_state_behind_the_inputs_and_have_a_scale_for_each_product(tmp_path: Path) -> None:
    graph, _ = quantized(tmp_path, with_everything("RNN"), "common_config { ifmr_quantize { num_bits: 12 } }")
    quant = graph.node("rec").quant
    assert quant is not None and quant.weight is not None
    record: Any = load_schema("amct_record.proto").message("amct_record.ScaleOffsetRecord")()
    text_format.Parse(scale_offset_record(graph), record)
    (entry,) = record.record
    assert [(d.index, d.num_bits_d) for d in entry.value.record_d] == [(0, 12), (2, 12), (4, 12)]
    assert [d.scale_d for d in entry.value.record_d] == [q.scale for q in quant.operands]
    roles = ("x_weight", "static_weight", "h_weight", "o_weight")
    assert list(entry.value.scale_w) == [float(quant.weight.scales[role][0]) for role in roles]
    assert list(entry.value.offset_w) == [0] * 4
    (layer,) = quant_param_record(graph).layer
    assert len(layer.quant_param.input) == 3
    assert len(layer.quant_param.weight.scale) == 4
    assert layer.quant_param.weight.scale[2] == pytest.approx(1 / entry.value.scale_w[2], rel=1e-6)


def grid(scale: str = "2.0", more: str = "") -> str:
    return f"{{ scale: {scale} {more} }}"


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (f"h {grid()} deq_scale: 1 deq_scale: 1", "`lstm_quant_param.x` is missing"),
        (f"x {grid()} deq_scale: 1 deq_scale: 1", "`lstm_quant_param.h` is missing"),
        (f"x {grid()} h {grid()} deq_scale: 1", "has 1 `deq_scale`, for 2 inner products"),
        (f"x {grid()} h {grid()} deq_scale: 1 deq_scale: nan", "is not a positive number"),
        (f"x {grid('0')} h {grid()} deq_scale: 1 deq_scale: 1", "must be a positive number, not 0"),
        (f"x {grid('inf')} h {grid()} deq_scale: 1 deq_scale: 1", "must be a positive number, not inf"),
        (f"x {grid(more='num_bits_d: 99')} h {grid()} deq_scale: 1 deq_scale: 1", "must be 2 to 16, not 99"),
        (f"x {grid()} h {grid(more='offset: 128')} deq_scale: 1 deq_scale: 1", "must be -128 to 127, not 128"),
    ],
)
def test_a_wrong_lstm_quant_param_is_refused(parameter: str, words: str, tmp_path: Path) -> None:
    model = tmp_path / "net.prototxt"
    text = net("LSTM").replace("recurrent_param", f"lstm_quant_param {{ {parameter} }} recurrent_param")
    model.write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError, match=f"AM320.*{words}"):
        load_model(model)


def test_weights_that_are_not_the_integers_they_should_be_are_refused(tmp_path: Path) -> None:
    graph, feeds = quantized(tmp_path, net("LSTM"))
    deploy, fake = write_and_read(graph, tmp_path)
    for read, role, wrong in (
        (deploy, "x_bias", np.zeros(16, np.int8)),
        (fake, "h_weight", np.full((16, 4), 0.25, np.float32)),
        (fake, "x_weight", np.full((16, 3), 128, np.float32)),
    ):
        kept = read.node("rec").weights[role]
        read.node("rec").weights[role] = wrong
        with pytest.raises(DiagnosticError, match=f"AM431.*{role}"):
            run_graph(read, feeds)
        read.node("rec").weights[role] = kept
    assert run_graph(fake, feeds)["out"].shape == (5, 2, 4)


def wide(folder: Path, inputs: int, factor: float) -> Node:
    """An RNN of 16 bits whose x is `inputs` numbers wide; the weights of x are all 127."""
    graph = make_net(folder, net("RNN", x=f"1 1 {inputs}", cont="1 1", units=1))
    feeds = {"x": np.linspace(-1, 1, inputs, dtype=np.float32).reshape(1, 1, -1), "cont": np.ones((1, 1), np.float32)}
    quantize(graph, [feeds], "common_config { ifmr_quantize { num_bits: 16 } }")
    node = graph.node("rec")
    node.weights["x_weight"] = np.full((1, inputs), 127, np.int8)
    node.weights["x_bias"] = np.zeros(1, np.int32)
    given = node.attrs["lstm_quant_param"]
    assert isinstance(given, dict)
    x = given["x"]
    assert isinstance(x, dict)
    node.attrs["lstm_quant_param"] = {**given, "x": {**x, "scale": factor, "offset": 0}, "deq_scale": (1.0, 1.0, 1.0)}
    return node


def test_sums_that_float32_could_not_hold_are_exact(tmp_path: Path) -> None:
    node = wide(tmp_path, 400, 1.0)
    x = np.random.default_rng(1).integers(-32768, 32768, (3, 400)).astype(np.float32)
    expected = x.astype(np.int64).sum(axis=1) * 127
    assert np.abs(expected).max() > 2**24
    np.testing.assert_array_equal(product_of(node, "x_weight")(x)[:, 0], expected.astype(np.float32))


def test_a_sum_beyond_32_bits_is_refused(tmp_path: Path) -> None:
    node = wide(tmp_path, 600, 1e4)
    multiply = product_of(node, "x_weight")
    assert multiply(np.zeros((1, 600), np.float32))[0, 0] == 0
    with pytest.raises(DiagnosticError, match=r"AM430.*`rec`.*does not fit into 32 bits"):
        multiply(np.full((1, 600), 5, np.float32))


def test_a_net_that_quantizes_inside_already_is_not_compiled_again(tmp_path: Path) -> None:
    graph, feeds = quantized(tmp_path, net("LSTM"))
    write_and_read(graph, tmp_path)
    data = tmp_path / "data.npz"
    np.savez(data, x=feeds["x"], cont=feeds["cont"])
    policy = tmp_path / "policy.cfg"
    policy.write_text("batch_num: 1\n", encoding="utf-8")
    for kind in ("deploy", "fake_quant"):
        model, weights = tmp_path / f"net_{kind}_model.prototxt", tmp_path / f"net_{kind}_weights.caffemodel"
        with pytest.raises(DiagnosticError, match=r"AM332.*`rec`"):
            amctc.compile(model, weights, policy=policy, data=data, output=tmp_path / "again")
