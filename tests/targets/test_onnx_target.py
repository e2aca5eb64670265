"""Target onnx: what each of its models computes, and that a user finds the source's names and shapes in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.pipeline.emission import Emission
from amctc.targets.onnx.model import deploy_model, fake_quant_model, qdq_model
from amctc.targets.onnx.target import OnnxTarget
from tests.onnx_nets import load, make_model, normal, optimized_types, run_model
from tests.quantized import outputs, quantize

BODY = """
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Clip (c1, zero, six)
    c2 = Conv <group = 4, pads = [1, 1, 1, 1], strides = [2, 2]> (r1, w2, b2)
    r2 = Relu (c2)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r2)
    c3 = Conv (p, w3)
    other = Conv (p, w6)
    both = Concat <axis = 1> (c3, other)
    c4 = Conv (both, w4, b4)
    sum = Add (c4, p)
    f = Flatten (sum)
    y = Gemm <transB = 1> (f, w5, b5)
"""
WEIGHTS = {
    "w1": normal((4, 2, 3, 3), 1),
    "b1": normal((4,), 2),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "w2": normal((4, 1, 3, 3), 3),
    "b2": normal((4,), 4),
    "w3": normal((4, 4, 1, 1), 5),
    "w4": normal((4, 8, 1, 1), 6),
    "b4": normal((4,), 7),
    "w5": normal((3, 16), 8),
    "b5": normal((3,), 9),
    "w6": normal((4, 4, 1, 1), 10),
}
SIGNATURE = "(float[N, 2, 8, 8] x) => (float[N, 3] y)"
ADDS = 'override_layer_types { layer_type: "Add" calibration_config { ifmr_quantize { } } }'


def net() -> ModelProto:
    return make_model(SIGNATURE, BODY, WEIGHTS)


def quantized(folder: Path, policy: str = ADDS) -> Graph:
    return quantize(load(net(), folder), [{"x": normal((4, 2, 8, 8), seed)} for seed in range(4)], policy)


def feeds() -> dict[str, NDArray[np.float32]]:
    return {"x": normal((5, 2, 8, 8), 99)}


def test_the_fake_quant_model_computes_what_the_graph_does(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    found = run_model(fake_quant_model(graph), feeds())
    np.testing.assert_allclose(found["y"], outputs(graph, feeds())["y"], rtol=0, atol=1e-4)


def test_the_deploy_model_read_back_computes_what_the_graph_does(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    (tmp_path / "deploy.onnx").write_bytes(deploy_model(graph).SerializeToString())
    again = load_model(tmp_path / "deploy.onnx")
    np.testing.assert_array_equal(outputs(again, feeds())["y"], outputs(graph, feeds())["y"])


def test_the_deploy_model_of_a_pooling_that_is_reshaped_runs(tmp_path: Path) -> None:
    body = """
        p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        f = Reshape (p, rows)
        y = Gemm <transB = 1> (f, w)
    """
    weights = {"rows": np.array([-1, 32]), "w": normal((3, 32), 1)}
    graph = quantize(
        load(make_model(SIGNATURE, body, weights), tmp_path), [{"x": normal((4, 2, 8, 8), seed)} for seed in range(4)]
    )
    (tmp_path / "deploy.onnx").write_bytes(deploy_model(graph).SerializeToString())
    again = load_model(tmp_path / "deploy.onnx")
    assert {value.dtype for node in again.nodes if node.dialect == "onnx" for value in node.outputs} <= {
        "float32",
        "int32",
    }
    np.testing.assert_allclose(outputs(again, feeds())["y"], outputs(graph, feeds())["y"], atol=1e-5)


def test_the_deploy_model_is_spelled_as_amct_does(tmp_path: Path) -> None:
    model = deploy_model(quantized(tmp_path))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    quant, dequant = nodes["Conv_0.quant"], nodes["Conv_0.dequant"]
    assert (quant.op_type, quant.domain, dequant.op_type) == ("AscendQuant", "", "AscendDequant")
    attrs = {each.name: onnx.helper.get_attribute_value(each) for each in quant.attribute}
    assert attrs.keys() == {"scale", "offset", "dst_type"}
    assert attrs["dst_type"] == b"INT8"
    conv = nodes["Conv_0"]
    assert constants[conv.input[1]].dtype == np.int8
    assert constants[conv.input[2]].dtype == np.int32
    words = constants[dequant.input[1]]
    assert words.dtype == np.uint64
    assert words.shape == (4,)
    assert not (words >> np.uint64(32)).any()


def test_the_model_of_pairs_agrees_with_the_graph_but_for_units_of_a_grid(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    found = run_model(qdq_model(graph), feeds())
    wanted = outputs(graph, feeds())["y"]
    # The last layer's sums are of integers that may differ by one.
    np.testing.assert_allclose(found["y"], wanted, rtol=0, atol=0.05 * float(np.abs(wanted).max()))
    assert np.median(np.abs(found["y"] - wanted)) < 0.01 * float(np.abs(wanted).max())


def test_onnx_runtime_runs_the_model_of_pairs_in_integers(tmp_path: Path) -> None:
    types = optimized_types(qdq_model(quantized(tmp_path)), tmp_path)
    assert types.count("QLinearConv") == 5
    assert types.count("QLinearAdd") == 1
    assert {"Conv", "FusedConv", "Add", "Clip", "Relu"}.isdisjoint(types)


def test_activations_that_the_grid_implies_are_left_out_and_no_others(tmp_path: Path) -> None:
    kept = [node.op_type for node in qdq_model(quantized(tmp_path)).graph.node]
    assert "Relu" not in kept
    symmetric = quantized(tmp_path, "activation_offset: false")
    kept = [node.op_type for node in qdq_model(symmetric).graph.node]
    assert "Relu" in kept  # a grid around 0 does not stop there
    found, wanted = run_model(qdq_model(symmetric), feeds())["y"], outputs(symmetric, feeds())["y"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.05 * float(np.abs(wanted).max()))


@pytest.mark.parametrize(("unsigned", "kind"), [(True, np.uint8), (False, np.int8)])
def test_data_are_unsigned_or_signed_as_the_option_says(tmp_path: Path, unsigned: bool, kind: type) -> None:
    model = qdq_model(quantized(tmp_path), unsigned=unsigned)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = {constants[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {np.dtype(kind)}
    run_model(model, feeds())


def test_weights_and_biases_lie_in_the_model_of_pairs_as_integers(tmp_path: Path) -> None:
    model = qdq_model(quantized(tmp_path))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    large = [array for array in constants.values() if array.size >= 16]
    assert {array.dtype for array in large} == {np.dtype(np.int8)}
    assert constants["Conv_0.bias_quantized"].dtype == np.int32
    assert constants["Conv_0.weight_scale"].shape == (4,)


def test_inputs_and_outputs_keep_their_names_and_free_axes(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    for model in (deploy_model(graph), fake_quant_model(graph), qdq_model(graph)):
        (given,), (result,) = model.graph.input, model.graph.output
        assert [given.name, result.name] == ["x", "y"]
        assert [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim] == ["N", 2, 8, 8]
        assert [dim.dim_param or dim.dim_value for dim in result.type.tensor_type.shape.dim] == ["N", 3]
        values = {name for node in model.graph.node for name in node.output}
        assert {"c1", "c2", "p", "both", "sum", "y"} <= values


def test_standard_models_pass_the_checker(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    for model in (fake_quant_model(graph), qdq_model(graph)):
        onnx.checker.check_model(model, full_check=True)


def test_sixteen_bits_make_the_model_of_pairs_one_of_opset_21(tmp_path: Path) -> None:
    policy = "common_config { ifmr_quantize { dst_type: INT16 } arq_quantize { channel_wise: true } }"
    graph = quantized(tmp_path, policy)
    files = OnnxTarget().emit(graph)
    model = ModelProto.FromString(files["qdq_model.onnx"])
    assert [entry.version for entry in model.opset_import] == [21]
    found, wanted = run_model(model, feeds())["y"], outputs(graph, feeds())["y"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * float(np.abs(wanted).max()))
    with pytest.raises(DiagnosticError, match="data of 16 bits need opset 21, and 17 is asked for"):
        OnnxTarget(opset=17).emit(graph)


def test_another_opset_gives_the_same_numbers(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    files, newer = OnnxTarget().emit(graph), OnnxTarget(opset=20).emit(graph)
    for name in ("fake_quant_model.onnx", "qdq_model.onnx"):
        model = ModelProto.FromString(newer[name])
        assert [entry.version for entry in model.opset_import] == [20]
        np.testing.assert_array_equal(
            run_model(model, feeds())["y"], run_model(ModelProto.FromString(files[name]), feeds())["y"]
        )


def test_an_opset_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM711"):
        OnnxTarget(opset=99).emit(quantized(tmp_path))


def test_weights_may_lie_in_a_file_beside_the_model(tmp_path: Path) -> None:
    weights = {**WEIGHTS, "w5": normal((300, 16), 8), "b5": normal((300,), 9)}
    model = make_model("(float[N, 2, 8, 8] x) => (float[N, 300] y)", BODY, weights)
    graph = quantize(load(model, tmp_path), [{"x": normal((4, 2, 8, 8), 1)}])
    files = OnnxTarget(external_data=True).emit_with(graph, Emission(prefix="net_"))
    inside = OnnxTarget().emit(graph)
    for name, content in files.items():
        (tmp_path / f"net_{name}").write_bytes(content)
    assert "qdq_model.onnx.data" in files
    assert len(files["qdq_model.onnx"]) < len(inside["qdq_model.onnx"])
    np.testing.assert_array_equal(
        run_model(tmp_path / "net_qdq_model.onnx", feeds())["y"],
        run_model(ModelProto.FromString(inside["qdq_model.onnx"]), feeds())["y"],
    )
    read = load_model(tmp_path / "net_deploy_model.onnx")
    np.testing.assert_array_equal(outputs(read, feeds())["y"], outputs(graph, feeds())["y"])


def test_a_model_tells_how_it_came_to_be(tmp_path: Path) -> None:
    emission = Emission(policy_sha256="ab" * 32, tool="amctc 1.2.3", pipeline="ptq")
    files = OnnxTarget().emit_with(quantized(tmp_path), emission)
    model = ModelProto.FromString(files["qdq_model.onnx"])
    assert (model.producer_name, model.producer_version) == ("amctc", "1.2.3")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert (told["amctc.policy_sha256"], told["amctc.pipeline"]) == ("ab" * 32, "ptq")
    history = json.loads(told["amctc.provenance"])
    assert [change["by"] for change in history["Conv_0"]][:2] == ["annotate-quant", "quantize-weights"]


def test_equal_inputs_give_equal_files(tmp_path: Path) -> None:
    assert OnnxTarget().emit(quantized(tmp_path)) == OnnxTarget().emit(quantized(tmp_path))


def test_a_float_graph_gives_one_model_with_the_numbers_of_the_source(tmp_path: Path) -> None:
    files = OnnxTarget().emit(load(net(), tmp_path))
    assert list(files) == ["model.onnx"]
    found = run_model(ModelProto.FromString(files["model.onnx"]), feeds())
    np.testing.assert_array_equal(found["y"], run_model(net(), feeds())["y"])


def test_the_float_tail_may_be_left_away(tmp_path: Path) -> None:
    body = """
        c = Conv (x, w)
        r = Relu (c)
        e = Exp (c)
        d = Conv (r, v)
        f = Flatten (d)
        y = Softmax (f)
        z = Add (f, f)
    """
    weights = {"w": normal((4, 2, 3, 3), 1), "v": normal((4, 4, 1, 1), 2)}
    signature = "(float[N, 2, 8, 8] x) => (float[N, 144] y, float[N, 144] z, float[N, 4, 6, 6] e)"
    graph = quantize(load(make_model(signature, body, weights), tmp_path), [{"x": normal((4, 2, 8, 8), 1)}])
    whole = ModelProto.FromString(OnnxTarget().emit(graph)["fake_quant_model.onnx"])
    files = OnnxTarget(tail=False).emit(graph)
    for name in ("deploy_model.onnx", "fake_quant_model.onnx", "qdq_model.onnx"):
        model = ModelProto.FromString(files[name])
        assert [value.name for value in model.graph.output] == ["c", "d"]
        assert {"Softmax", "Flatten", "Exp"}.isdisjoint(node.op_type for node in model.graph.node)
    for name in ("c", "d"):  # what the tail is computed from
        whole.graph.output.add(name=name)
    found, wanted = run_model(ModelProto.FromString(files["fake_quant_model.onnx"]), feeds()), run_model(whole, feeds())
    np.testing.assert_array_equal(found["c"], wanted["c"])
    np.testing.assert_array_equal(found["d"], wanted["d"])
    assert run_model(ModelProto.FromString(files["qdq_model.onnx"]), feeds())["d"].shape == (5, 4, 6, 6)


def test_outputs_that_no_quantized_layer_stands_before_stay(tmp_path: Path) -> None:
    body = "c = Conv (x, w) e = Exp (x) y = Relu (c)"
    signature = "(float[N, 2, 8, 8] x) => (float[N, 4, 6, 6] y, float[N, 2, 8, 8] e)"
    model = make_model(signature, body, {"w": normal((4, 2, 3, 3), 1)})
    graph = quantize(load(model, tmp_path), [{"x": normal((4, 2, 8, 8), 1)}])
    files = OnnxTarget(tail=False).emit(graph)
    assert [value.name for value in ModelProto.FromString(files["qdq_model.onnx"]).graph.output] == ["c", "e"]
