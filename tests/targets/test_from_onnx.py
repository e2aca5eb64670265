"""ONNX ops as Caffe layers: what the written Caffe net computes is what the ONNX model does, or the op is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.runtime.executor import Executor, read_inputs
from amctc.targets.caffe.from_onnx import in_caffe
from amctc.targets.caffe.target import CaffeTarget
from tests.frontends.onnx.node_cases import NodeCase, graph_of, node_cases
from tests.onnx_nets import load, make_model, normal
from tests.quantized import outputs, quantize

IMAGE = "(float[1, 4, 7, 9] x) => (float[N, C, H, W] y)"
VECTOR = "(float[2, 6] x) => (float[N, C] y)"
TWO = "(float[2, 3, 4, 5] x, float{second} z) => (float[N, C, H, W] y)"
INTS = {"two": np.array([2], np.int64), "axes": np.array([1, 2], np.int64)}


def written(graph: Graph, folder: Path) -> Graph:
    """The Caffe files of a float graph, read back."""
    files = CaffeTarget().emit(graph)
    assert sorted(files) == ["model.caffemodel", "model.prototxt"]
    for ending, content in files.items():
        (folder / ending).write_bytes(content)
    return load_model(folder / "model.prototxt", folder / "model.caffemodel")


def assert_same(graph: Graph, folder: Path, seed: int = 0, *, positive: bool = False) -> Graph:
    """Cross a graph, and compare; the Caffe graph."""
    feeds = {name: normal(value.shape or (), seed + i) for i, (name, value) in enumerate(read_inputs(graph).items())}
    if positive:
        feeds = {name: np.abs(array) + np.float32(0.1) for name, array in feeds.items()}
    caffe = written(graph, folder)
    assert all(node.dialect == "caffe" for node in caffe.nodes)
    found, wanted = outputs(caffe, feeds), outputs(graph, feeds)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * float(np.abs(array).max()))
    return caffe


def refusal(graph: Graph) -> str:
    with pytest.raises(DiagnosticError) as caught:
        in_caffe(graph)
    (found,) = caught.value.diagnostics
    assert found.code == "AM713"
    return found.message


def types(graph: Graph) -> list[str]:
    return [node.type for node in graph.nodes if node.type != "Input"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Relu (x)", ["ReLU"]),
        ("y = LeakyRelu <alpha = 0.3> (x)", ["ReLU"]),
        ("y = PRelu (x, slopes)", ["PReLU"]),
        ("y = PRelu (x, one)", ["PReLU"]),
        ("y = Clip (x, zero, six)", ["ReLU6"]),
        ("y = Clip (x, zero)", ["ReLU"]),
        ("y = Clip (x, minus, six)", ["Clip"]),
        ("y = Sigmoid (x)", ["Sigmoid"]),
        ("y = Tanh (x)", ["TanH"]),
        ("y = Elu <alpha = 0.7> (x)", ["ELU"]),
        ("y = Softplus (x)", ["BNLL"]),
        ("y = HardSigmoid <alpha = 0.25> (x)", ["HardSigmoid"]),
        ("y = HardSwish (x)", ["HardSwish"]),
        ("y = Abs (x)", ["AbsVal"]),
        ("y = Neg (x)", ["Power"]),
        ("y = Exp (x)", ["Exp"]),
        ("y = Softmax <axis = 1> (x)", ["Softmax"]),
        ("y = LogSoftmax <axis = -1> (x)", ["Softmax", "Log"]),
        ("y = LRN <size = 3, alpha = 0.1> (x)", ["LRN"]),
        ("y = Add (x, one)", ["Power"]),
        ("y = Sub (six, x)", ["Power", "Power"]),
        ("y = Add (by_channel, x)", ["Bias"]),
        ("y = Sub (x, by_channel)", ["Bias"]),
        ("y = Mul (x, by_channel)", ["Scale"]),
        ("y = Mul (x, by_row)", ["Scale"]),
        ("y = Mul (x, by_image)", ["Scale"]),
        ("y = Div (x, by_channel)", ["Scale"]),
        ("y = Sum (x, x, x)", ["Eltwise"]),
        ("y = Mean (x, x)", ["Eltwise"]),
        ("y = InstanceNormalization (x, slope4, bias4)", ["GroupNorm"]),
        ("y = BatchNormalization (x, slope4, bias4, bias4, var4)", ["BatchNorm", "Scale"]),
        ("y = Transpose <perm = [0, 2, 3, 1]> (x)", ["Permute"]),
        ("y = Concat <axis = 2> (x, x)", ["Concat"]),
        ("y = GlobalAveragePool (x)", ["Pooling"]),
        ("y = GlobalMaxPool (x)", ["Pooling"]),
        ("y = ReduceMean <axes = [2, 3]> (x)", ["Pooling"]),
        ("y = ReduceMean <axes = [1], keepdims = 1> (x)", ["ReduceMean"]),
        ("y = DepthToSpace <blocksize = 2> (x)", ["Reorg"]),
        ('y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', ["PixelShuffle"]),
        ("y = Identity (x)", ["Power"]),
        ("t = Relu (x) y = Identity (t)", ["ReLU"]),
        ("t = Relu (x) u = Dropout (t) y = Abs (u)", ["ReLU", "AbsVal"]),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_an_op_is_the_layer_that_does_the_same(body: str, expected: list[str], tmp_path: Path) -> None:
    weights = {
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "minus": np.array(-0.5, np.float32),
        "one": np.array([1.5], np.float32),
        "slopes": normal((4, 1, 1), 1),
        "by_channel": normal((1, 4, 1, 1), 2),
        "by_row": normal((7, 1), 3),
        "by_image": normal((4, 1, 9), 4),
        "slope4": normal((4,), 5),
        "bias4": normal((4,), 6),
        "var4": np.abs(normal((4,), 7)) + np.float32(0.5),
    }
    graph = load(make_model(IMAGE, body, {k: v for k, v in weights.items() if k in body}), tmp_path)
    assert types(assert_same(graph, tmp_path)) == expected


@pytest.mark.parametrize(
    "body", ["y = Sqrt (x)", "y = Log (x)", "y = Reciprocal (x)", "y = Pow (x, p)", "y = Div (p, x)"]
)
def test_powers_and_logarithms_of_positive_numbers(body: str, tmp_path: Path) -> None:
    weights = {"p": np.array(1.5, np.float32)} if "p" in body.replace("Reciprocal", "") else {}
    assert_same(load(make_model(IMAGE, body, weights), tmp_path), tmp_path, positive=True)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("second", ["[2, 3, 4, 5]", "[2, 3, 1, 1]", "[4, 1]", "[3, 1, 1]", "[2, 1, 1, 1]"])
def test_arithmetic_of_two_values_broadcasts_the_second(op: str, second: str, tmp_path: Path) -> None:
    graph = load(make_model(TWO.replace("{second}", second), f"y = {op} (x, z)"), tmp_path)
    assert_same(graph, tmp_path, positive=True)


@pytest.mark.parametrize("op", ["Max", "Min", "Sum"])
def test_values_of_one_shape_are_joined(op: str, tmp_path: Path) -> None:
    assert_same(load(make_model(TWO.replace("{second}", "[2, 3, 4, 5]"), f"y = {op} (x, z)"), tmp_path), tmp_path)


@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [1, 1, 1, 1]",
        "pads = [0, 1, 1, 2], strides = [2, 2]",
        'auto_pad = "SAME_UPPER", strides = [5, 2]',
        'auto_pad = "SAME_LOWER", strides = [5, 1]',
        "group = 2, dilations = [2, 1]",
        "group = 4",
    ],
)
def test_convolutions(attributes: str, tmp_path: Path) -> None:
    group = int(attributes.split("group = ")[1][0]) if "group" in attributes else 1
    weights = {"w": normal((8, 4 // group, 3, 3), 1), "b": normal((8,), 2)}
    graph = load(make_model(IMAGE, f"y = Conv <{attributes}> (x, w, b)", weights), tmp_path)
    assert ("Pad" in types(assert_same(graph, tmp_path))) == ("0, 1, 1" in attributes or "auto" in attributes)


def test_a_transposed_convolution_and_one_over_one_axis(tmp_path: Path) -> None:
    weights = {"w": normal((4, 3, 3, 3), 1), "b": normal((6,), 2)}
    body = "y = ConvTranspose <group = 2, strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)"
    assert_same(load(make_model(IMAGE, body, weights), tmp_path), tmp_path)
    line = make_model("(float[1, 4, 9] x) => (float[N, C, L] y)", "y = Conv (x, w)", {"w": normal((5, 4, 3), 1)})
    assert_same(load(line, tmp_path), tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        "y = Gemm (x, w, b)",
        "y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, v, b)",
        "t = MatMul (x, w) y = Add (t, b)",
        "y = Gemm (x, w, one)",
    ],
)
def test_products_with_a_matrix(body: str, tmp_path: Path) -> None:
    weights = {"w": normal((6, 5), 1), "v": normal((5, 6), 2), "b": normal((5,), 3), "one": normal((1,), 4)}
    graph = load(
        make_model(VECTOR, body, {k: v for k, v in weights.items() if f" {k}" in body or f"({k}" in body}), tmp_path
    )
    assert "InnerProduct" in types(assert_same(graph, tmp_path))


@pytest.mark.parametrize(
    ("op", "ceil"),
    [
        ("MaxPool", 0),
        ("MaxPool", 1),
        ("AveragePool", 0),
        ("AveragePool", 1),
        ("AveragePool <count_include_pad = 1,", 0),
    ],
)
@pytest.mark.parametrize("pads", ["0, 0, 0, 0", "1, 1, 1, 1", "0, 0, 1, 1", "1, 0, 0, 1"])
@pytest.mark.parametrize("window", [(2, 2), (3, 1), (3, 2), (3, 3)])
def test_poolings_of_all_sizes(op: str, ceil: int, pads: str, window: tuple[int, int], tmp_path: Path) -> None:
    kernel, stride = window
    head = op if "<" in op else f"{op} <"
    body = f"y = {head} kernel_shape = [{kernel}, {kernel}], strides = [{stride}, {stride}], pads = [{pads}], "
    assert_same(load(make_model(IMAGE, f"{body} ceil_mode = {ceil}> (x)"), tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Slice (x, starts, ends, axes)", {"starts": [1, 2], "ends": [3, 100], "axes": [1, 3]}),
        ("y = Gather <axis = 1> (x, index)", {"index": [1, 2]}),
        ("t = Gather <axis = 1> (x, index) y = Unsqueeze (t, axes)", {"index": 3, "axes": [1]}),
        ("a, y = Split <axis = 1> (x, parts)", {"parts": [1, 3]}),
        ("y = Pad (x, pads)", {"pads": [0, 0, 1, 2, 0, 0, 3, 0]}),
        ('y = Pad <mode = "reflect"> (x, pads)', {"pads": [0, 0, 1, 2, 0, 0, 3, 0]}),
        ("y = Tile (x, times)", {"times": [1, 2, 1, 3]}),
        ("y = Reshape (x, shape)", {"shape": [0, 2, -1, 9]}),
        ("t = Squeeze (x, axes) y = Unsqueeze (t, axes)", {"axes": [0]}),
        ('y = Resize <mode = "nearest"> (x, , scales)', {"scales": [1.0, 1.0, 2.0, 3.0]}),
        ('y = Resize <mode = "linear"> (x, , scales)', {"scales": [1.0, 1.0, 2.0, 3.0]}),
        (
            'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , scales)',
            {"scales": [1.0, 1.0, 2.0, 3.0]},
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_ops_that_move_elements(body: str, weights: dict[str, Any], tmp_path: Path) -> None:
    arrays = {k: np.array(v, np.float32 if k == "scales" else np.int64) for k, v in weights.items()}
    assert_same(load(make_model(IMAGE, body, arrays), tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = Gelu (x)", "(Gelu): has no form in Caffe"),
        ("y = Acos (x)", "(Acos): has no form in Caffe"),
        ("t = ArgMax <axis = 1> (x) y = Cast <to = 1> (t)", "(ArgMax): gives int64, and Caffe's blobs hold float32"),
        ("y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", "windows with gaps"),
        ("y = Slice (x, starts, ends, axes, steps)", "takes every n-th element"),
        ("y = Conv (x, x)", "weights that are not constant"),
        ("y = ConvTranspose <output_padding = [1, 1], strides = [2, 2]> (x, w)", "`output_padding`"),
        ('y = Resize <mode = "cubic"> (x, , scales)', "mode `cubic`"),
    ],
)
def test_what_caffe_cannot_say_is_refused_by_name(body: str, words: str, tmp_path: Path) -> None:
    weights: dict[str, NDArray[Any]] = {
        "starts": np.array([0], np.int64),
        "ends": np.array([9], np.int64),
        "axes": np.array([3], np.int64),
        "steps": np.array([2], np.int64),
        "w": normal((4, 2, 3, 3), 1),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    used = {name: array for name, array in weights.items() if f" {name}" in body}
    opset = 20 if "Gelu" in body else 17
    assert words in refusal(load(make_model(IMAGE, body, used, opset), tmp_path))


def test_every_node_that_cannot_be_said_is_named_at_once(tmp_path: Path) -> None:
    graph = load(make_model(IMAGE, "a = Acos (x) b = Relu (a) y = Asin (b)"), tmp_path)
    with pytest.raises(DiagnosticError) as caught:
        in_caffe(graph)
    assert [found.message.split("(")[1].split(")")[0] for found in caught.value.diagnostics] == ["Acos", "Asin"]


def test_an_input_of_open_sizes_is_refused_and_one_of_an_open_batch_is_one_sample(tmp_path: Path) -> None:
    graph = load(make_model("(float[N, 3, H, W] x) => (float[N, 3, H, W] y)", "y = Relu (x)"), tmp_path)
    assert "sizes that the model does not say" in refusal(graph)
    caffe = assert_same(load(make_model("(float[N, 3] x) => (float[N, 3] y)", "y = Relu (x)"), tmp_path), tmp_path)
    assert read_inputs(caffe)["x"].shape == (1, 3)


def test_integers_are_refused_at_the_input(tmp_path: Path) -> None:
    graph = load(make_model("(int64[2, 3] x) => (int64[2, 3] y)", "y = Abs (x)"), tmp_path)
    assert "takes int64" in refusal(graph)


def test_shapes_and_constants_that_are_computed_are_constants(tmp_path: Path) -> None:
    body = "s = Shape (x) e = Expand (half, s) y = Concat <axis = 1> (e, x)"
    model = make_model("(float[2, 3] x) => (float[2, 6] y)", body, {"half": np.full((1, 1), 0.5, np.float32)})
    assert types(assert_same(load(model, tmp_path), tmp_path)) == ["Parameter", "Concat"]


NET = """
    c1 = Conv <pads = [0, 0, 1, 1], strides = [2, 2]> (x, w1, b1)
    r1 = Clip (c1, zero, six)
    c2 = Conv <group = 4, pads = [1, 1, 1, 1]> (r1, w2)
    c3 = Conv (r1, w3)
    s = Add (c2, c3)
    p = GlobalAveragePool (s)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w4, b4)
"""
WEIGHTS = {
    "w1": normal((4, 2, 3, 3), 1),
    "b1": normal((4,), 2),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "w2": normal((4, 1, 3, 3), 3),
    "w3": normal((4, 4, 1, 1), 4),
    "w4": normal((3, 4), 5),
    "b4": normal((3,), 6),
}


def test_a_quantized_graph_gives_the_same_integers_in_caffe(tmp_path: Path) -> None:
    model = make_model("(float[1, 2, 8, 8] x) => (float[1, 3] y)", NET, WEIGHTS)
    graph = quantize(load(model, tmp_path), [{"x": normal((1, 2, 8, 8), seed)} for seed in range(4)])
    for ending, content in CaffeTarget().emit(graph).items():
        (tmp_path / ending).write_bytes(content)
    feeds = {"x": normal((1, 2, 8, 8), 9)}
    wanted = outputs(graph, feeds)["y"]
    for kind in ("deploy", "fake_quant"):
        again = load_model(tmp_path / f"{kind}_model.prototxt", tmp_path / f"{kind}_weights.caffemodel")
        np.testing.assert_array_equal(outputs(again, feeds)["y"], wanted)
        assert [n.name for n in again.nodes if n.type == "Convolution"] == [
            node.name for node in graph.nodes if node.type == "Conv"
        ]
        # What is padded on one side is padded as floats, and quantized behind that.
        assert [n.type for n in again.nodes][:3] == ["Input", "Pad", "Quantize"]


@pytest.mark.parametrize("part", range(4))
def test_the_node_models_of_onnx_are_the_same_in_caffe_or_refused(part: int, tmp_path: Path) -> None:
    cases = [case for case in node_cases() if _takes_floats(case)][part::4]
    compared = [case.name for case in cases if _compare(case, tmp_path)]
    assert len(compared) > 40


def _takes_floats(case: NodeCase) -> bool:
    kinds = {value.type.tensor_type.elem_type for value in (*case.model.graph.input, *case.model.graph.output)}
    return 1 in kinds and kinds <= {1, 7}


def _compare(case: NodeCase, folder: Path) -> bool:
    try:
        caffe = written(graph_of(case, folder), folder)
    except DiagnosticError as refused:
        assert all(found.message for found in refused.diagnostics)
        return False
    names = [value.name for value in case.model.graph.input]
    for given, wanted in case.batches:
        feeds: dict[str, Any] = {n: a for n, a in zip(names, given, strict=False) if n in read_inputs(caffe)}
        run = Executor(caffe, finite=False).run(feeds)
        found = {value.blob: array for value, array in run.items()}
        for value, array in zip(case.model.graph.output, wanted, strict=True):
            tolerance = max(case.rtol, 1e-4)
            np.testing.assert_allclose(found[value.name], np.asarray(array), rtol=tolerance, atol=1e-5)
    return True
