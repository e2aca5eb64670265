"""What is wrong with an ONNX file is said with a code and the place; nothing outside its folder is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from amctc.diagnostics import Collector
from amctc.frontends import load_model
from amctc.frontends.onnx.load import MOST_ERRORS
from tests.frontends.onnx.models import codes, graph_with, loaded, model_of, refusal, run, saved

RELU = "g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }"
ADD = "g (float[N, 3] x) => (float[N, 3] y) { y = Add (x, w) }"


def with_external(folder: Path, data: bytes | None = None, **entries: str) -> ModelProto:
    """An Add of a weight [3] that is to lie in a file."""
    model = model_of(ADD)
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    if data is not None:
        (folder / "weights.bin").write_bytes(data)
    return model


@pytest.mark.parametrize("data", [b"", b"\x00", b"garbage" * 100, b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_model_is_refused(data: bytes, tmp_path: Path) -> None:
    assert codes(refusal(data, tmp_path)) == ["AM340"]


def test_a_model_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = model_of(ADD, weights={"w": np.ones(3, np.float32)}).SerializeToString()
    for length in range(1, len(whole) - 1):
        assert codes(refusal(whole[:length], tmp_path))[0] in ("AM340", "AM342", "AM344", "AM347")


def test_a_model_without_an_opset_is_refused(tmp_path: Path) -> None:
    model = model_of(RELU)
    del model.opset_import[:]
    assert codes(refusal(model, tmp_path)) == ["AM340"]


def test_a_missing_file_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no such file"):
        load_model(tmp_path / "none.onnx")


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    graph = loaded(with_external(tmp_path, np.arange(3, dtype="<f4").tobytes()), tmp_path)
    assert run(graph, {"x": [[1, 1, 1]]})[0].tolist() == [[1, 2, 3]]


def test_weights_are_read_from_their_offset_on(tmp_path: Path) -> None:
    data = b"???" + np.arange(3, dtype="<f4").tobytes()
    graph = loaded(with_external(tmp_path, data, offset="3", length="12"), tmp_path)
    assert run(graph, {"x": [[1, 1, 1]]})[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/passwd", "", "a/../../weights.bin", "weights.bin\0", "link", "linked/weights.bin"],
)
def test_weights_outside_the_models_folder_are_not_looked_at(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    (folder / "link").symlink_to(tmp_path / "weights.bin")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    found = refusal(with_external(tmp_path, location=location), folder)
    assert codes(found) == ["AM341"]
    assert "outside the model's folder" in found.diagnostics[0].message


@pytest.mark.parametrize("data", [None, b"", bytes(11)])
def test_weights_that_are_missing_or_too_few_are_told(data: bytes | None, tmp_path: Path) -> None:
    assert codes(refusal(with_external(tmp_path, data), tmp_path)) == ["AM341"]


def test_a_pipe_in_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.bin")
    assert codes(refusal(with_external(tmp_path), tmp_path)) == ["AM341"]


@pytest.mark.parametrize("entries", [{"length": "8"}, {"offset": "-1"}, {"offset": "x"}, {"offset": "9" * 30}])
def test_weights_of_another_length_are_damaged(entries: dict[str, str], tmp_path: Path) -> None:
    assert codes(refusal(with_external(tmp_path, bytes(100), **entries), tmp_path)) == ["AM342"]


@pytest.mark.parametrize(
    "change",
    [
        {"dims": [-1]},
        {"dims": [1 << 62]},
        {"dims": [1 << 40, 1 << 40]},
        {"dims": [4]},
        {"raw_data": b"\x00" * 11},
        {"data_type": 77},
        {"data_type": TensorProto.UNDEFINED},
        {"data_type": TensorProto.UINT4, "dims": [1 << 50]},
    ],
)
def test_a_damaged_tensor_is_refused_without_memory_for_it(change: dict[str, Any], tmp_path: Path) -> None:
    fields: dict[str, Any] = {"dims": [3], "data_type": TensorProto.FLOAT, "raw_data": bytes(12), **change}
    model = model_of(ADD)
    model.graph.initializer.append(TensorProto(name="w", **fields))
    assert codes(refusal(model, tmp_path)) == ["AM342"]


def test_texts_and_sparse_tensors_are_not_read(tmp_path: Path) -> None:
    model = model_of(ADD)
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"text"]))
    assert codes(refusal(model, tmp_path)) == ["AM343"]
    model = model_of(ADD)
    values, indices = helper.make_tensor("w", 1, [1], [2.0]), helper.make_tensor("i", 7, [1], [1])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    assert "AM343" in codes(refusal(model, tmp_path))
    model = model_of('g (float[N, 3] x) => (float[N, 3] y) { w = Constant <value_string = "a"> () y = Add (x, w) }')
    assert codes(refusal(model, tmp_path)) == ["AM343", "AM347"]


@pytest.mark.parametrize("opset", [1, 6, 29, 1 << 40])
def test_opsets_from_the_past_and_the_future_are_refused(opset: int, tmp_path: Path) -> None:
    model = model_of(RELU)
    model.opset_import[0].version = opset
    assert codes(refusal(model, tmp_path)) == ["AM344"]


def test_a_conversion_that_fails_says_the_reason_in_one_line(tmp_path: Path) -> None:
    text = 'g (int16[3] x) => (int16[3] y) { y = BitShift <direction = "LEFT"> (x, x) }'
    found = refusal(model_of(text, 28), tmp_path)
    assert codes(found) == ["AM344"]
    assert "BitShift" in found.diagnostics[0].message
    assert "/" not in found.diagnostics[0].message


@pytest.mark.parametrize(
    ("type", "words"),
    [
        (helper.make_tensor_type_proto(TensorProto.STRING, [3]), "takes texts"),
        (helper.make_tensor_type_proto(TensorProto.COMPLEX64, [3]), "takes complex64"),
        (helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [3])), "takes sequences"),
        (helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [3])), "takes optionals"),
    ],
)
def test_inputs_that_take_no_numbers_are_refused(type: Any, words: str, tmp_path: Path) -> None:
    model = model_of(RELU)
    model.graph.input.append(helper.make_value_info("more", type))
    found = refusal(model, tmp_path)
    assert codes(found) == ["AM345"]
    assert words in found.diagnostics[0].message


def test_a_model_of_constants_is_refused(tmp_path: Path) -> None:
    text = "g (float[N, 3] x) => (float[2] y) { c = Constant <value_floats = [1.0, 2.0]> () y = Neg (c) }"
    assert codes(refusal(model_of(text), tmp_path)) == ["AM346"]


def test_one_constant_output_among_others_is_kept(tmp_path: Path) -> None:
    text = (
        "g (float[N, 3] x) => (float[N, 3] y, float[2] z) { z = Constant <value_floats = [1.0, 2.0]> () y = Neg (x) }"
    )
    assert run(loaded(model_of(text), tmp_path), {"x": [[1, 2, 3]]})[1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g (float[3] x) => (float[3] y) { y = Relu (z) }", "reads `z`, which nothing gives"),
        ("g (float[3] x) => (float[3] y) { z = Relu (x) }", "has the output `y`, which nothing gives"),
        ("g (float[3] x) => (float[3] y) { z = Add (x, y) y = Relu (z) }", "depends on itself"),
        ("g (float[3] x) => (float[3] y) { y = Relu (x) y = Neg (x) }", "`y` is given to"),
        ("g (float[3] x) => (float[3] x) { x = Relu (x) }", "depends on itself"),
        ("g (float[3] x, float[3] x) => (float[3] y) { y = Relu (x) }", "`x` is given to two inputs"),
    ],
)
def test_names_that_do_not_fit_together_are_told(text: str, words: str, tmp_path: Path) -> None:
    found = refusal(model_of(text), tmp_path)
    assert found.diagnostics[0].code == "AM347"
    assert words in found.diagnostics[0].message


def test_an_initializer_and_a_node_of_one_name_are_told(tmp_path: Path) -> None:
    text = "g (float[3] x) => (float[3] y) { w = Neg (x) y = Add (x, w) }"
    found = refusal(model_of(text, weights={"w": np.ones(3, np.float32)}), tmp_path)
    assert codes(found) == ["AM347"]


def test_a_misspelt_name_gets_a_suggestion(tmp_path: Path) -> None:
    text = "g (float[3] image) => (float[3] y) { features = Relu (image) y = Neg (feature) }"
    (found,) = refusal(model_of(text), tmp_path).diagnostics
    assert found.help == "did you mean `features`?"


def test_mistakes_are_told_up_to_a_number(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", [f"none{i}"], [f"y{i}"]) for i in range(1000)]
    value = [helper.make_tensor_value_info(name, 1, [3]) for name in ("x", "y1")]
    found = refusal(graph_with(*nodes, inputs=value[:1], outputs=value[1:]), tmp_path)
    assert len(found.diagnostics) == MOST_ERRORS


def test_nodes_in_any_order_are_read(tmp_path: Path) -> None:
    text = "g (float[3] x) => (float[3] y) { y = Relu (a) b = Neg (x) a = Add (b, x) }"
    graph = loaded(model_of(text), tmp_path)
    assert [node.type for node in graph.nodes] == ["Input", "Neg", "Add", "Relu"]
    assert run(graph, {"x": [1, 2, 3]})[0].tolist() == [0, 0, 0]


def test_nodes_without_a_name_or_with_that_of_another_get_their_own(tmp_path: Path) -> None:
    text = "g (float[3] x) => (float[3] y) { a = Relu (x) b = Neg (a) c = Neg (b) y = Neg (c) }"
    model = model_of(text)
    model.graph.node[1].name = model.graph.node[2].name = "neg"
    model.graph.node[3].name = "x"
    graph = loaded(model, tmp_path)
    assert [node.name for node in graph.nodes] == ["x_input", "Relu_0", "neg", "neg_1", "x"]
    assert run(graph, {"x": [1, 2, 3]})[0].tolist() == [-1, -2, -3]


def test_unknown_ops_are_kept_and_told_of_together(tmp_path: Path) -> None:
    text = "g (float[3] x) => (float[3] y) { a = my.domain.Gain (x) b = my.domain.Gain (a) y = Relu (b) }"
    collector = Collector()
    graph = loaded(model_of(text, my_domain=1), tmp_path, collector)
    (warning,) = collector.warnings
    assert warning.code == "AM348"
    assert "`Gain_0`, `Gain_1` of type `my.domain.Gain`" in warning.message
    assert [node.op for node in graph.nodes][1:] == ["onnx.my.domain.Gain"] * 2 + ["onnx.Relu"]
    assert graph.outputs[0].dtype == "float32"


def test_an_op_that_onnx_does_not_have_is_kept_in_a_model_of_an_old_opset(tmp_path: Path) -> None:
    text = "g (float[1, 3] x) => (float[1, 3] y) { a = Wobble <by = 2> (x) y = Relu (a) }"
    graph = loaded(model_of(text, opset=11), tmp_path)
    assert [node.op for node in graph.nodes][1:] == ["onnx.Wobble", "onnx.Relu"]
    assert graph.node("Wobble_0").attrs["by"] == 2
    assert graph.attrs["opset"] == 13
    assert "imports" not in graph.attrs


def test_graphs_deep_inside_each_other_are_read_or_refused(tmp_path: Path) -> None:
    def branch(depth: int) -> Any:
        out = [helper.make_tensor_value_info(f"y{depth}", 1, [3])]
        if not depth:
            return helper.make_graph([helper.make_node("Relu", ["x"], ["y0"])], "b", [], out)
        inner = branch(depth - 1)
        node = helper.make_node("If", ["c"], [f"y{depth}"], then_branch=inner, else_branch=inner)
        return helper.make_graph([node], "b", [], out)

    def model(depth: int) -> ModelProto:
        made = branch(depth)
        inputs = [helper.make_tensor_value_info("x", 1, [3]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
        return graph_with(*made.node, inputs=inputs, outputs=made.output)

    graph = loaded(model(8), tmp_path)
    assert run(graph, {"x": [-1, 0, 2], "c": True})[0].tolist() == [0, 0, 2]
    # Protobuf itself goes no deeper than 100 messages.
    text = saved(model(8), tmp_path).read_bytes()
    for _ in range(40):
        text = b"\x0a" + varint(len(text)) + text
    assert codes(refusal(text, tmp_path)) == ["AM340"]


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def test_a_constant_of_a_million_millions_is_not_made(tmp_path: Path) -> None:
    text = "g (float[3] x) => (float[N] y) { c = ConstantOfShape (n) y = Add (c, x) }"
    graph = loaded(model_of(text, weights={"n": np.array([10**12, 3], np.int64)}), tmp_path)
    assert [node.type for node in graph.nodes] == ["Input", "ConstantOfShape", "Add"]
    assert graph.outputs[0].shape == (10**12, 3)


def test_many_large_constants_are_not_made_either(tmp_path: Path) -> None:
    lines = "".join(f"c{i} = ConstantOfShape (n) y{i + 1} = Add (y{i}, c{i})" for i in range(100))
    text = f"g (float[1] y0) => (float[N] y100) {{ {lines} }}"
    graph = loaded(model_of(text, weights={"n": np.array([1 << 24], np.int64)}), tmp_path)
    assert sum(node.type == "ConstantOfShape" for node in graph.nodes) > 90


def test_a_node_that_gets_types_it_does_not_take_is_told_where_it_is(tmp_path: Path) -> None:
    text = "g (float[3] x, int64[3] i) => (float[3] y) { y = Add (x, i) }"
    graph = loaded(model_of(text), tmp_path)
    with pytest.raises(Exception, match="`Add_0` \\(Add\\): ONNX Runtime cannot run it"):
        run(graph, {"x": [1, 2, 3], "i": [1, 2, 3]})


def test_weights_that_do_not_fit_are_told_with_onnxs_words(tmp_path: Path) -> None:
    text = "g (float[N, 4] x) => (float[N, 5] y) { y = MatMul (x, w) }"
    found = refusal(model_of(text, weights={"w": np.ones((3, 5), np.float32)}), tmp_path)
    assert codes(found) == ["AM320"]
    assert "MatMul" in found.diagnostics[0].message


def test_numbers_of_every_type_are_read(tmp_path: Path) -> None:
    for kind in (np.float16, np.float64, np.int8, np.uint16, np.int64, np.bool_):
        text = f"g ({onnx_name(kind)}[2] x) => ({onnx_name(kind)}[4] y) {{ y = Concat <axis = 0> (x, w) }}"
        weights = {"w": np.array([0, 1], kind)}
        (found,) = run(loaded(model_of(text, weights=weights), tmp_path), {"x": [1, 0]})
        assert found.dtype == kind
        assert found.tolist() == [1, 0, 0, 1]


def onnx_name(kind: Any) -> str:
    return str(TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))).lower()


def test_a_tensor_of_four_bits_is_read(tmp_path: Path) -> None:
    text = "g (float[3] x) => (float[3] y) { f = Cast <to = 1> (w) y = Add (x, f) }"
    model = model_of(text, 21)
    model.ir_version = 10
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.INT4, [3], [-8, 7, 1]))
    assert run(loaded(model, tmp_path), {"x": [0, 0, 0]})[0].tolist() == [-8, 7, 1]
    packed = numpy_helper.to_array(model.graph.initializer[0])
    assert packed.dtype.name == "int4"
