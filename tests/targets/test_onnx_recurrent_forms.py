"""LSTM, GRU and RNN in the forms of target onnx: what each computes, and how it is spelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.quant.deq_scale import unpack_deq_scale
from amctc.targets.onnx.model import deploy_model, fake_quant_model, qdq_model
from amctc.targets.onnx.target import OnnxTarget
from tests.onnx_nets import load, run_model
from tests.onnx_recurrent import KINDS, UNITS, Net, by_definition, sqnr
from tests.quantized import outputs, quantize

NETS = [
    *(Net(kind) for kind in KINDS),
    *(Net(kind, bias=False, initial="fed") for kind in KINDS),
    *(Net(kind, initial="constant", lengths="constant") for kind in KINDS),
    *(Net(kind, lengths="fed", outputs=("h",)) for kind in KINDS),
]
CACHED = [net for net in NETS if net.kind != "RNN"]
PER_TENSOR = "common_config { arq_quantize { channel_wise: false } }"


def quantized(net: Net, folder: Path, policy: str = "") -> Graph:
    return quantize(load(net.model(), folder), [net.feeds(seed) for seed in (10, 20, 30)], policy)


def read_back(model: ModelProto, folder: Path) -> Graph:
    path = folder / "again.onnx"
    path.write_bytes(model.SerializeToString())
    return load_model(path)


def constants_of(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attributes_of(node: NodeProto) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


@pytest.mark.parametrize("net", NETS, ids=str)
@pytest.mark.parametrize("policy", ["", PER_TENSOR])
def test_the_fake_quant_model_computes_what_the_graph_does(net: Net, policy: str, tmp_path: Path) -> None:
    graph, feeds = quantized(net, tmp_path, policy), net.feeds(50, 9)
    found, wanted = run_model(fake_quant_model(graph), feeds), outputs(graph, feeds)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=0.005)
        assert np.median(np.abs(found[name] - array)) < 1e-6


@pytest.mark.parametrize("net", NETS, ids=str)
def test_the_model_of_pairs_is_as_close_to_the_float_model(net: Net, tmp_path: Path) -> None:
    graph, feeds = quantized(net, tmp_path), net.feeds(50, 9)
    found, wanted, ours = run_model(qdq_model(graph), feeds), run_model(net.model(), feeds), outputs(graph, feeds)
    for name, array in wanted.items():
        assert sqnr(array, found[name]) > min(24, sqnr(array, ours[name]) - 3)


def test_the_model_of_pairs_has_integers_for_weights_and_biases(tmp_path: Path) -> None:
    net = Net("LSTM", initial="fed")
    model = qdq_model(quantized(net, tmp_path))
    constants = constants_of(model)
    assert {array.dtype for array in constants.values() if array.size > 8 * UNITS} == {np.dtype(np.int8)}
    assert constants["rec.B_quantized"].dtype == np.int32
    assert constants["rec.W_scale"].shape == (4 * UNITS,)
    types = [node.op_type for node in model.graph.node]
    assert types.count("QuantizeLinear") == 2  # x and the initial state
    assert types.count("DequantizeLinear") == 5


def test_data_of_sixteen_bits_ask_for_a_newer_opset(tmp_path: Path) -> None:
    net = Net("GRU")
    graph = quantized(net, tmp_path, "common_config { ifmr_quantize { dst_type: INT16 } }")
    made = onnx.load_from_string(OnnxTarget().emit(graph)["qdq_model.onnx"])
    assert next(entry.version for entry in made.opset_import if entry.domain == "") >= 21
    assert sqnr(run_model(net.model(), net.feeds(50))["h"], run_model(made, net.feeds(50))["h"]) > 35


@pytest.mark.parametrize("net", CACHED, ids=str)
@pytest.mark.parametrize("policy", ["", PER_TENSOR, "common_config { ifmr_quantize { dst_type: INT16 } }"])
def test_the_deploy_model_read_back_computes_what_the_graph_does(net: Net, policy: str, tmp_path: Path) -> None:
    graph, feeds = quantized(net, tmp_path, policy), net.feeds(50, 9)
    again = outputs(read_back(deploy_model(graph), tmp_path), feeds)
    for name, array in outputs(graph, feeds).items():
        np.testing.assert_array_equal(again[name], array)


FOUR_BITS = "common_config { arq_quantize { quant_bits: 4 } }"


def test_weights_of_four_bits_lie_two_in_a_byte(tmp_path: Path) -> None:
    net = Net("GRU", initial="fed", width=4)
    graph, feeds = quantized(net, tmp_path, FOUR_BITS), net.feeds(50)
    model = deploy_model(graph)
    constants = constants_of(model)
    assert constants["rec.W"].shape == (1, 3 * UNITS, 2)
    assert constants["rec.R"].shape == (1, 3 * UNITS, UNITS // 2)
    again, wanted = outputs(read_back(model, tmp_path), feeds), outputs(graph, feeds)
    np.testing.assert_array_equal(again["y"], wanted["y"])
    pairs = onnx.load_from_string(OnnxTarget().emit(graph)["qdq_model.onnx"])
    kinds = {tensor.name: tensor.data_type for tensor in pairs.graph.initializer}
    assert kinds["rec.W_quantized"] == kinds["rec.R_quantized"] == onnx.TensorProto.INT4
    assert sqnr(wanted["y"], run_model(pairs, feeds)["y"]) > 30


def test_an_odd_number_of_inputs_has_no_weights_of_four_bits(tmp_path: Path) -> None:
    quant = quantized(Net("LSTM"), tmp_path, FOUR_BITS).node("rec").quant
    assert quant is not None and quant.weight is not None and quant.weight.bits == 8


def test_a_deploy_model_read_back_is_written_in_all_forms_again(tmp_path: Path) -> None:
    net = Net("LSTM")
    graph, feeds = quantized(net, tmp_path), net.feeds(50)
    again = read_back(deploy_model(graph), tmp_path)
    files = OnnxTarget().emit(again)
    assert "deploy_model.onnx" in files
    wanted = run_model(qdq_model(graph), feeds)["y"]
    np.testing.assert_allclose(run_model(qdq_model(again), feeds)["y"], wanted, rtol=0, atol=0.005)


@pytest.mark.parametrize(
    ("net", "type", "inputs"),
    [
        (Net("LSTM", initial="fed", lengths="fed"), "BasicLSTMInplaceFillWindowCache", "x W R h0 c0 B len - D"),
        (Net("LSTM", initial="fed", bias=False), "BasicLSTMInplaceFillWindowCache", "x W R h0 c0 - - - D"),
        (Net("GRU", initial="fed"), "BasicGRUInplaceFillWindowCache", "x W R h0 B - - D"),
    ],
)
def test_the_deploy_model_is_spelled_as_amct_does(net: Net, type: str, inputs: str, tmp_path: Path) -> None:
    graph = quantized(net, tmp_path)
    model = deploy_model(graph)
    node = next(node for node in model.graph.node if node.name == "rec")
    assert (node.op_type, node.domain) == (type, "")
    constants = constants_of(model)
    names = {"rec.dequant.param": "D", **{f"rec.{role}": role for role in "WRB"}, "": "-"}
    assert " ".join(names.get(name, name) for name in node.input) == inputs
    assert {constants[name].dtype.name for name in ("rec.W", "rec.R")} == {"int8"}
    assert "rec.B" not in constants or constants["rec.B"].dtype == np.int32
    quant = graph.node("rec").quant
    assert quant is not None and quant.weight is not None and quant.state is not None
    attrs = attributes_of(node)
    (data,) = quant.inputs
    for name, operand in (("x", data), ("h", quant.state)):
        assert operand.scale is not None
        np.testing.assert_allclose(attrs[f"quant_scale_{name}"], 1 / operand.scale, rtol=1e-6)
        assert attrs[f"quant_offset_{name}"] == operand.offset
        assert attrs[f"quant_sqrt_mode_{name}"] == 0
    assert (attrs["quant_dtype"], attrs["hidden_size"], attrs["direction"]) == (2, UNITS, b"forward")
    assert (attrs["activations"], attrs["clip"]) == ([], -1.0)
    words = unpack_deq_scale(constants["rec.dequant.param"]).scale
    scales = [
        np.float32(operand.scale) * quant.weight.scales[role]
        for role, operand in zip("WR", quant.operands, strict=True)
    ]
    np.testing.assert_array_equal(words, np.concatenate(scales))


def test_one_scale_for_all_rows_stands_there_for_each_gate(tmp_path: Path) -> None:
    for kind, gates in (("LSTM", 4), ("GRU", 3)):
        model = deploy_model(quantized(Net(kind), tmp_path, PER_TENSOR))
        words = constants_of(model)["rec.dequant.param"]
        assert words.dtype == np.uint64
        assert words.shape == (2 * gates,)
        assert [len(set(half)) for half in np.split(words, 2)] == [1, 1]


def test_outputs_that_are_left_out_are_there_in_the_deploy_model(tmp_path: Path) -> None:
    model = deploy_model(quantized(Net("LSTM", outputs=("y",)), tmp_path))
    node = next(node for node in model.graph.node if node.name == "rec")
    assert len(set(node.output)) == 3 and node.output[0] == "y"


def test_an_rnn_of_the_deploy_model_is_float_on_the_grids(tmp_path: Path) -> None:
    """Ascend has no node for it: data are put on their grid, weights are what their integers stand for."""
    net = Net("RNN", initial="fed")
    graph, feeds = quantized(net, tmp_path), net.feeds(50)
    model = deploy_model(graph)
    assert [node.op_type for node in model.graph.node] == 2 * ["AscendQuant", "AscendAntiQuant"] + ["RNN"]
    found = outputs(read_back(model, tmp_path), feeds)["y"]
    assert sqnr(run_model(net.model(), feeds)["y"], found) > 24


def damaged(net: Net, folder: Path, change: str) -> Path:
    model = deploy_model(quantized(net, folder))
    node = next(node for node in model.graph.node if node.name == "rec")
    attrs = {each.name: each for each in node.attribute}
    match change:
        case "scale":
            attrs["quant_scale_h"].f = float("nan")
        case "offset":
            attrs["quant_offset_x"].f = 300
        case "type":
            attrs["quant_dtype"].i = 9
        case "words":
            node.input[len(node.input) - 1] = ""
        case "count":
            words = next(tensor for tensor in model.graph.initializer if tensor.name == "rec.dequant.param")
            words.CopyFrom(numpy_helper.from_array(np.ones(5, np.uint64), words.name))
        case "zeros":
            words = next(tensor for tensor in model.graph.initializer if tensor.name == "rec.dequant.param")
            words.CopyFrom(numpy_helper.from_array(np.zeros(tuple(words.dims), np.uint64), words.name))
        case _:
            attrs["direction"].s = b"reverse"
    path = folder / "damaged.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("change", ["scale", "offset", "type", "words", "count", "zeros", "direction"])
def test_a_damaged_layer_of_a_deploy_model_is_refused(change: str, tmp_path: Path) -> None:
    path = damaged(Net("GRU", initial="fed"), tmp_path, change)
    with pytest.raises(DiagnosticError) as caught:
        load_model(path)
    assert caught.value.diagnostics[0].code == "AM349"


def test_a_batch_in_the_fake_quant_model_is_what_the_definition_says(tmp_path: Path) -> None:
    """The same check without our own runtime between."""
    net = Net("GRU", initial="fed", lengths="fed")
    graph, feeds = quantized(net, tmp_path), net.feeds(51, 4, 2)
    found, wanted = run_model(fake_quant_model(graph), feeds), by_definition(net, graph.node("rec"), feeds)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=0.005)
