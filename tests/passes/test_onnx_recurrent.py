"""ONNX's LSTM, GRU and RNN quantized inside: what is quantized and what not, the integers, and the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.table import op_def
from amctc.driver.quantize import float_model
from amctc.ir import Graph
from amctc.passes import PIPELINES
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.records.factors import factors_of
from amctc.records.read_record import parse_record
from amctc.records.scale_offset import scale_offset_record
from amctc.registry import builtin_registry
from amctc.source import SourceFile
from amctc.targets.onnx.model import deploy_model, fake_quant_model
from tests.onnx_nets import load, make_model, normal, run_model
from tests.onnx_recurrent import KINDS, UNITS, WIDTH, Net, by_definition, sqnr
from tests.quantized import outputs, quantize, run_passes

NETS = [
    *(Net(kind) for kind in KINDS),
    *(Net(kind, bias=False) for kind in KINDS),
    *(Net(kind, initial="fed") for kind in KINDS),
    *(Net(kind, initial="constant", bias=False) for kind in KINDS),
    *(Net(kind, lengths="fed") for kind in KINDS),
    *(Net(kind, lengths="constant", initial="fed") for kind in KINDS),
    *(Net(kind, outputs=("h",)) for kind in KINDS),
    Net("LSTM", outputs=("c",)),
    Net("LSTM", outputs=("y",)),
]
POLICIES = {
    "usual": "",
    "one scale for W, one for R": "common_config { arq_quantize { channel_wise: false } }",
    "symmetric": "activation_offset: false",
    "16 bits": "common_config { ifmr_quantize { dst_type: INT16 } }",
}


def quantized(net: Net, folder: Path, policy: str = "") -> Graph:
    return quantize(load(net.model(), folder), [net.feeds(seed) for seed in (10, 20, 30)], policy)


@pytest.mark.parametrize("net", NETS, ids=str)
def test_a_float_layer_computes_what_onnx_runtime_does(net: Net, tmp_path: Path) -> None:
    feeds, graph = net.feeds(50), load(net.model(), tmp_path)
    wanted = run_model(net.model(), feeds)
    assert op_def(graph.node("rec")).recurrent is not None
    for name, array in outputs(graph, feeds).items():
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("net", NETS, ids=str)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_a_quantized_layer_computes_its_definition_in_integers(net: Net, policy: str, tmp_path: Path) -> None:
    graph, feeds = quantized(net, tmp_path, policy), net.feeds(50)
    found, wanted = outputs(graph, feeds), by_definition(net, graph.node("rec"), feeds)
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        # float32 gates may round a hidden state to the next step of its grid.
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=0.005)
        assert np.median(np.abs(array - wanted[name])) < 1e-6


@pytest.mark.parametrize("net", NETS, ids=str)
def test_a_quantized_layer_is_close_to_the_float_one(net: Net, tmp_path: Path) -> None:
    graph, feeds = quantized(net, tmp_path), net.feeds(50)
    found, wanted = outputs(graph, feeds), run_model(net.model(), feeds)
    for name, array in found.items():
        assert sqnr(wanted[name], array) > 24  # most of them 34 to 40


def test_sixteen_bits_are_closer_than_eight(tmp_path: Path) -> None:
    net = Net("LSTM")
    feeds = net.feeds(50)
    wanted = run_model(net.model(), feeds)["c"]
    narrow, wide = (outputs(quantized(net, tmp_path, POLICIES[bits]), feeds)["c"] for bits in ("usual", "16 bits"))
    assert sqnr(wanted, wide) > sqnr(wanted, narrow) + 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("time", "streams"), [(1, 1), (12, 2), (3, 9)])
def test_time_and_batch_are_what_comes(kind: str, time: int, streams: int, tmp_path: Path) -> None:
    net = Net(kind)
    graph, feeds = quantized(net, tmp_path), net.feeds(60, time, streams)
    found, wanted = outputs(graph, feeds), run_model(net.model(), feeds)
    assert {name: array.shape for name, array in found.items()} == {name: a.shape for name, a in wanted.items()}
    assert sqnr(wanted["y"], found["y"]) > 30


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sequence_ends_with_zeros_as_in_onnx_runtime(kind: str, tmp_path: Path) -> None:
    net = Net(kind, initial="fed", lengths="fed")
    graph = quantized(net, tmp_path)
    feeds: dict[str, NDArray[Any]] = {**net.feeds(50), "len": np.array([0, 3, 7], np.int32)}
    found, wanted = outputs(graph, feeds), run_model(net.model(), feeds)
    for shown in (found, run_model(fake_quant_model(graph), feeds)):
        assert all(sqnr(array, shown[name]) > 24 for name, array in wanted.items())
        assert not shown["h"][0, 0].any()
    assert not wanted["h"][0, 0].any()


def test_no_state_goes_from_one_batch_to_the_next(tmp_path: Path) -> None:
    net = Net("GRU")
    graph, feeds = quantized(net, tmp_path), net.feeds(50)
    np.testing.assert_array_equal(outputs(graph, feeds)["y"], outputs(graph, feeds)["y"])


def test_channels_are_rows_of_each_matrix(tmp_path: Path) -> None:
    net = Net("LSTM")
    node = quantized(net, tmp_path).node("rec")
    assert node.quant is not None and node.quant.weight is not None
    for role in ("W", "R"):
        rows = net.weights()[role][0]
        scales = node.quant.weight.scales[role]
        assert scales.shape == (4 * UNITS,)
        np.testing.assert_allclose(scales, np.abs(rows).max(axis=1) / 127, rtol=0.01)
        assert node.weights[role].shape == net.weights()[role].shape


def test_each_half_of_the_bias_is_on_the_grid_of_its_own_sums(tmp_path: Path) -> None:
    net = Net("LSTM")
    node = quantized(net, tmp_path).node("rec")
    assert node.quant is not None and node.quant.weight is not None
    floats, found = net.weights()["B"][0], node.weights["B"]
    assert found.dtype == np.int32 and found.shape == (1, 8 * UNITS)
    for role, index, part in (("W", 0, slice(0, 4 * UNITS)), ("R", 1, slice(4 * UNITS, None))):
        scale_d = node.quant.operand(index).scale
        assert scale_d is not None
        step = np.float32(scale_d) * node.quant.weight.scales[role]
        np.testing.assert_array_equal(found[0, part], np.rint(floats[part] / step))


def test_the_scale_of_the_hidden_state_is_learned_from_the_first_output(tmp_path: Path) -> None:
    net = Net("GRU", outputs=("h",))
    graph = load(net.model(), tmp_path)
    run_passes(graph, "annotate-quant,quantize-weights,observe", "", [net.feeds(10)])
    observed = {node.inputs[0] for node in graph.nodes if node.op == "quant.Observe"}
    layer = graph.node("rec")
    assert observed == {layer.inputs[0], layer.outputs[0]}


@pytest.mark.parametrize("initial", ["fed", "constant"])
@pytest.mark.parametrize("algorithm", ["ifmr_quantize", "hfmg_quantize"])
def test_calibration_sees_the_initial_state_too(initial: str, algorithm: str, tmp_path: Path) -> None:
    """Nothing of a state twice as large as all that follows is cut off."""
    net = Net("GRU", initial=initial)
    model = net.model()
    batches = [net.feeds(seed) for seed in (10, 20)]
    large = 2 * normal((1, 3, UNITS), 77)
    for batch in batches:
        batch.update({"h0": large} if initial == "fed" else {})
    for tensor in model.graph.initializer:
        if tensor.name == "h0":
            tensor.CopyFrom(numpy_helper.from_array(large, "h0"))
    policy = f"activation_offset: false common_config {{ {algorithm} {{ }} }}"
    node = quantize(load(model, tmp_path), batches, policy).node("rec")
    assert node.quant is not None and node.quant.state is not None and node.quant.state.scale is not None
    assert node.quant.state.scale > 0.7 * float(np.abs(large).max()) / 128


def test_a_value_that_is_also_data_of_the_next_layer_keeps_a_grid_of_its_own(tmp_path: Path) -> None:
    """The initial state belongs to the hidden state alone, not to the outputs that another layer reads."""
    weights = {f"{role}{k}": array for k in (1, 2) for role, array in Net("RNN").weights().items()}
    weights["W2"] = normal((1, UNITS, UNITS), 9)
    signature = f"(float[T, N, {WIDTH}] x, float[1, N, {UNITS}] h0) => (float[T, 1, N, {UNITS}] y)"
    body = (
        f"a = RNN <hidden_size = {UNITS}> (x, W1, R1, B1, , h0) b = Squeeze (a, axis) "
        f"y = RNN <hidden_size = {UNITS}> (b, W2, R2, B2)"
    )
    model = make_model(signature, body, {**weights, "axis": np.array([1])})
    feeds = {"x": normal((7, 3, WIDTH), 1), "h0": 5 * normal((1, 3, UNITS), 2)}
    graph = quantize(load(model, tmp_path), [feeds], "activation_offset: false")
    first, second = (node.quant for node in graph.nodes if node.op == "onnx.RNN")
    assert first is not None and first.state is not None and second is not None
    assert (first.state.scale or 0) > 3 * (second.inputs[0].scale or 1)


def test_the_record_has_a_scale_for_each_row_of_each_matrix_and_gives_the_model_again(tmp_path: Path) -> None:
    net, feeds = Net("LSTM", initial="fed"), Net("LSTM", initial="fed").feeds(50)
    for policy, count in ((POLICIES["usual"], 8 * UNITS), (POLICIES["one scale for W, one for R"], 2)):
        graph = quantized(net, tmp_path, policy)
        record = scale_offset_record(graph)
        assert record.count("scale_w") == count
        again = _from_record(load(net.model(), tmp_path), record, policy)
        for name, array in outputs(graph, feeds).items():
            np.testing.assert_array_equal(outputs(again, feeds)[name], array)
    factors = factors_of(graph.node("rec"))
    assert factors is not None and [each.index for each in factors.inputs] == [0, 3]


def _from_record(graph: Graph, text: str, policy: str) -> Graph:
    record = parse_record(SourceFile("record.txt", text))
    resolved = resolve(Policy.from_text(SourceFile("policy.cfg", policy)), graph)
    parse_pipeline(SourceFile("pipeline", PIPELINES["convert"]), builtin_registry()).run(
        graph, Context(resolved, None, record=record)
    )
    return graph


UNFIT = {
    "clip": Net("LSTM", attributes=", clip = 3.0"),
    "activations": Net("GRU", attributes=', activations = ["HardSigmoid", "Tanh"]'),
    "input_forget": Net("LSTM", attributes=", input_forget = 1"),
    "reverse": Net("RNN", attributes=', direction = "reverse"'),
    "the reset before the product": Net("GRU", reset_first=True),
    "relu": Net("RNN", attributes=', activations = ["Relu"]'),
}


@pytest.mark.parametrize("net", UNFIT.values(), ids=UNFIT.keys())
def test_a_layer_out_of_the_way_passes_through_in_float(net: Net, tmp_path: Path) -> None:
    _passes_through(load(net.model(), tmp_path))


def test_usual_activations_may_be_written_out(tmp_path: Path) -> None:
    net = Net("LSTM", attributes=', activations = ["Sigmoid", "Tanh", "Tanh"], direction = "forward", layout = 0')
    graph = quantized(net, tmp_path)
    assert graph.node("rec").quant is not None


def _two_directions() -> tuple[str, str, dict[str, NDArray[Any]]]:
    rows = 4 * UNITS
    weights = {"W": normal((2, rows, WIDTH), 1), "R": normal((2, rows, UNITS), 2)}
    return f"float[T, 2, N, {UNITS}] y", 'direction = "bidirectional"', weights


def _batch_first() -> tuple[str, str, dict[str, NDArray[Any]]]:
    rows = 4 * UNITS
    return f"float[T, N, 1, {UNITS}] y", "layout = 1", {"W": normal((1, rows, WIDTH)), "R": normal((1, rows, UNITS))}


@pytest.mark.parametrize("make", [_two_directions, _batch_first])
def test_two_directions_and_another_layout_pass_through_in_float(make: Any, tmp_path: Path) -> None:
    output, attributes, weights = make()
    body = f"y = LSTM <hidden_size = {UNITS}, {attributes}> (x, W, R)"
    _passes_through(load(make_model(f"(float[T, N, {WIDTH}] x) => ({output})", body, weights), tmp_path))


def test_peepholes_pass_through_in_float(tmp_path: Path) -> None:
    rows = 4 * UNITS
    weights = {"W": normal((1, rows, WIDTH)), "R": normal((1, rows, UNITS)), "P": normal((1, 3 * UNITS))}
    body = f"y = LSTM <hidden_size = {UNITS}> (x, W, R, , , , , P)"
    signature = f"(float[T, N, {WIDTH}] x) => (float[T, 1, N, {UNITS}] y)"
    _passes_through(load(make_model(signature, body, weights), tmp_path))


def test_weights_that_are_fed_pass_through_in_float(tmp_path: Path) -> None:
    signature = f"(float[T, N, {WIDTH}] x, float[1, {UNITS}, {WIDTH}] W) => (float[T, 1, N, {UNITS}] y)"
    body = f"y = RNN <hidden_size = {UNITS}> (x, W, R)"
    _passes_through(load(make_model(signature, body, {"R": normal((1, UNITS, UNITS))}), tmp_path))


def _passes_through(graph: Graph) -> None:
    layer = graph.nodes[-1]
    row = op_def(layer)
    assert row.recurrent is None and row.quantizable is None
    with pytest.raises(DiagnosticError, match="no layer that can be quantized"):
        resolve(Policy.from_text(SourceFile("policy.cfg", "")), graph)


@pytest.mark.parametrize("kind", KINDS)
def test_types_may_be_skipped_by_name(kind: str, tmp_path: Path) -> None:
    graph = load(Net(kind).model(), tmp_path)
    policy = Policy.from_text(SourceFile("policy.cfg", f'skip_layer_types: "{kind}"'))
    with pytest.raises(DiagnosticError, match="no layer is left"):
        resolve(policy, graph)


def test_a_model_with_quantized_layers_is_not_quantized_again(tmp_path: Path) -> None:
    path = tmp_path / "deploy.onnx"
    path.write_bytes(deploy_model(quantized(Net("GRU"), tmp_path)).SerializeToString())
    with pytest.raises(DiagnosticError, match="quantized already"):
        float_model(path, None, Collector(), {})
