"""Functions of each element: against the recorded fork, against their definitions in numpy, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.unary import UNARY_OPS
from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.table import op_table
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from amctc.ir.node import Array, Shape
from amctc.runtime.executor import Executor, run_graph
from amctc.runtime.lowering import lower
from tests.runtime.nets import add_input, one_layer, random
from tests.shared_files import GOLDEN, needs_golden

Fields = dict[str, Any]

FORK = GOLDEN / "caffe_fork" / "layers"
FORK_CASES = (
    "HardSigmoid__alpha_beta",
    "HardSigmoid__default",
    "HardSwish__default",
    "ReLU6__default",
    "ReLU6__negative_slope",
    "ReLU6__threshold",
)

WIDE = np.array([[-100, -20, -7, -3, -2.5, -1, -0.3, -0.0], [0, 1e-3, 0.5, 1, 2.5, 3, 8, 100]], np.float32)
POSITIVE = np.abs(WIDE) + np.float32(0.25)


@needs_golden
@pytest.mark.parametrize("case", FORK_CASES)
def test_the_recorded_fork_gives_the_same_numbers(case: str) -> None:
    graph = load_caffe(FORK / f"{case}.prototxt")
    with np.load(FORK / f"{case}.npz") as arrays:
        data, expected = arrays["in/data"], arrays["blob/out"]
    found = run_graph(graph, {"data": data})["out"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * float(np.abs(expected).max()))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _softplus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.logaddexp(0, x)


def _hard_sigmoid(x: NDArray[np.float64], alpha: float, beta: float) -> NDArray[np.float64]:
    return np.clip(alpha * x + beta, 0, 1)


def _leaky(x: NDArray[np.float64], slope: float) -> NDArray[np.float64]:
    return np.where(x > 0, x, slope * x)


@pytest.mark.parametrize(
    ("kind", "parameter", "definition"),
    [
        ("BNLL", {}, _softplus),
        ("ELU", {"elu_param": {"alpha": 0.7}}, lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0)))),
        ("Swish", {"swish_param": {"beta": 0.3}}, lambda x: x * _sigmoid(0.3 * x)),
        ("Clip", {"clip_param": {"min": -1.5, "max": 2.0}}, lambda x: np.clip(x, -1.5, 2)),
        ("Clip", {"clip_param": {"min": -math.inf, "max": 2.0}}, lambda x: np.minimum(x, 2)),
        ("Clip", {"clip_param": {"min": 3.0, "max": 2.0}}, lambda x: np.full_like(x, 3)),
        ("ReLU6", {}, lambda x: np.clip(x, 0, 6)),
        ("ReLU6", {"relu6_param": {"negative_slope": -0.5}}, lambda x: np.minimum(_leaky(x, -0.5), 6)),
        ("ReLU6", {"relu6_param": {"threshold": -1.0}}, lambda x: np.full_like(x, -1)),
        ("RReLU", {}, lambda x: _leaky(x, (1 / 8 + 1 / 3) / 2)),
        ("RReLU", {"rrelu_param": {"lower": 0.1, "upper": 0.5}}, lambda x: _leaky(x, 0.3)),
        ("RReLU", {"relu_param": {"negative_slope": 0.2}}, lambda x: _leaky(x, 0.2)),
        ("RReLU", {"relu_param": {"negative_slope": 0.2}, "rrelu_param": {"upper": 0.5}}, lambda x: _leaky(x, 0.3125)),
        ("Hswish", {}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("Hswish", {"hswish_param": {"alpha": 0.2, "beta": 0.4}}, lambda x: x * _hard_sigmoid(x, 0.2, 0.4)),
        ("HardSwish", {}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("HardSigmoid", {}, lambda x: _hard_sigmoid(x, 0.2, 0.5)),
        ("Mish", {}, lambda x: x * np.tanh(_softplus(x))),
        ("Threshold", {"threshold_param": {"threshold": -2.5}}, lambda x: x > -2.5),
        ("Exp", {"exp_param": {"base": 3.0, "scale": 0.05, "shift": 1.5}}, lambda x: 3 ** (0.05 * x + 1.5)),
        ("Exp", {"exp_param": {"base": 1.0, "shift": 4.0}}, np.ones_like),
        ("Exp", {"exp_param": {"scale": 0.05, "shift": 1.5}}, lambda x: np.exp(0.05 * x + 1.5)),
        ("Ceil", {}, np.ceil),
        ("Sign", {}, np.sign),
        ("Cos", {}, np.cos),
        ("Sin", {}, np.sin),
        ("Erf", {}, np.vectorize(math.erf)),
        ("Equal", {}, lambda x: x == 0),
        ("Equal", {"equal_param": {"value": 2.5}}, lambda x: x == 2.5),
        ("Greater", {"greater_param": {"value": -3.0}}, lambda x: x > -3),
    ],
)
def test_a_layer_computes_its_definition(
    kind: str, parameter: Mapping[str, Fields], definition: Callable[[NDArray[np.float64]], Any]
) -> None:
    _check(kind, parameter, WIDE, definition(WIDE.astype(np.float64)))


@pytest.mark.parametrize(
    ("kind", "parameter", "definition"),
    [
        ("Sqrt", {}, np.sqrt),
        ("Log", {}, np.log),
        ("Log", {"log_param": {"base": 3.0, "scale": 2.0, "shift": 0.5}}, lambda x: np.log(2 * x + 0.5) / np.log(3)),
        ("Log", {"log_param": {"base": 0.5, "scale": 4.0}}, lambda x: -np.log2(4 * x)),
    ],
)
def test_a_layer_of_positive_numbers_computes_its_definition(
    kind: str, parameter: Mapping[str, Fields], definition: Callable[[NDArray[np.float64]], Any]
) -> None:
    _check(kind, parameter, POSITIVE, definition(POSITIVE.astype(np.float64)))


def test_a_logarithm_and_a_root_of_what_is_not_positive_are_as_in_c() -> None:
    x = np.array([-1, 0], np.float32)
    assert str(_run(one_layer("Log", (2,)), data=x)) == "[ nan -inf]"
    assert str(_run(one_layer("Sqrt", (2,)), data=x)) == "[nan  0.]"


def test_a_comparison_with_nan_is_0() -> None:
    x = np.array([math.nan, math.inf], np.float32)
    found = {kind: _run_onnx(one_layer(kind, (2,)), x).tolist() for kind in ("Threshold", "Greater", "Equal")}
    assert found == {"Threshold": [0, 1], "Greater": [0, 1], "Equal": [0, 0]}


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_crelu_joins_both_halves_along_its_axis(axis: int, slope: float) -> None:
    x = random((2, 3, 4))
    graph = one_layer("CReLU", x.shape, {"crelu_param": {"concat_axis": axis, "negative_slope": slope}})
    expected = np.concatenate([np.where(y > 0, y, slope * y) for y in (x, -x)], axis)
    np.testing.assert_allclose(_run(graph, data=x), expected, rtol=1e-6)


def test_crelu_joins_channels_unless_told_otherwise() -> None:
    assert _shape(one_layer("CReLU", (2, 3, 4, 5))) == (2, 6, 4, 5)


@pytest.mark.parametrize(("kind", "expected"), [("Equal", [0, 1, 0]), ("Greater", [0, 0, 1])])
def test_a_comparison_of_two_inputs_gives_0_and_1(kind: str, expected: Sequence[float]) -> None:
    graph = _several(kind, [(3,), (3,)])
    found = _run(graph, input0=np.array([1, 2, 3], np.float32), input1=np.array([2, 2, 2], np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == expected


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 1, 1)])
def test_axpy_scales_each_channel_of_x_and_adds_y(shape: Shape) -> None:
    a, x, y = random(shape, 1), random((2, 3, 4, 5), 2), random((2, 3, 4, 5), 3)
    found = _run(_several("Axpy", [a.shape, x.shape, y.shape]), input0=a, input1=x, input2=y)
    np.testing.assert_allclose(found, a.reshape(2, 3, 1, 1) * x + y, rtol=1e-6, atol=1e-6)


def test_axpy_works_in_place_on_y() -> None:
    graph = _several("Axpy", [(1, 2), (1, 2), (1, 2)], top="input2")
    inputs = {f"input{index}": np.full((1, 2), index + 2, np.float32) for index in range(3)}
    assert _run(graph, **inputs).tolist() == [[10, 10]]


@pytest.mark.parametrize("kind", [row.type for row in UNARY_OPS if row.inputs.least == 1])
def test_blobs_of_no_elements_pass(kind: str) -> None:
    parameter: dict[str, Fields] = {"clip_param": {"min": 0.0, "max": 1.0}} if kind == "Clip" else {}
    graph = one_layer(kind, (2, 0, 3), parameter)
    assert _run_onnx(graph, np.zeros((2, 0, 3), np.float32)).shape == _shape(graph)


@pytest.mark.parametrize(
    ("kind", "parameter", "words"),
    [
        ("Clip", {"clip_param": {"min": 0.0}}, "needs `max` in `clip_param`"),
        ("Clip", {}, "needs `min` in `clip_param`"),
        ("Clip", {"clip_param": {"min": 0.0, "max": math.nan}}, "`max` is not a number"),
        ("Exp", {"exp_param": {"base": 0.0}}, "`base` must be positive and finite, or -1 for e, not 0"),
        ("Exp", {"exp_param": {"base": -2.0}}, "not -2"),
        ("Exp", {"exp_param": {"base": math.nan}}, "not nan"),
        ("Log", {"log_param": {"base": math.inf}}, "not inf"),
        ("Log", {"log_param": {"base": 1.0}}, "`base` cannot be 1"),
        ("CReLU", {"crelu_param": {"concat_axis": 3}}, "`concat_axis` 3 is outside a blob of 3 axes"),
    ],
)
def test_a_parameter_without_a_meaning_is_refused(kind: str, parameter: Mapping[str, Fields], words: str) -> None:
    _refused(one_layer(kind, (2, 3, 4), parameter), words)


@pytest.mark.parametrize(
    ("kind", "shapes", "words"),
    [
        ("Equal", [(2, 3), (2, 1)], "input 0 is 2x3, input 1 is 2x1"),
        ("Axpy", [(2, 3), (2, 3, 4), (2, 3, 5)], "x is 2x3x4, y is 2x3x5"),
        ("Axpy", [(2,), (2,), (2,)], "two axes or more"),
        ("Axpy", [(2, 3, 2, 1), (2, 3, 2, 2), (2, 3, 2, 2)], "the first input must be 2x3 or 2x3x1x1"),
        ("Axpy", [(1, 3), (2, 3, 2, 2), (2, 3, 2, 2)], "this one is 1x3"),
    ],
)
def test_inputs_that_do_not_fit_each_other_are_refused(kind: str, shapes: Sequence[Shape], words: str) -> None:
    _refused(_several(kind, shapes), words)


def test_a_comparison_of_two_inputs_with_a_value_too_is_refused() -> None:
    attrs: dict[str, Fields] = {"greater_param": {"value": 1.0}}
    _refused(_several("Greater", [(2,), (2,)], attrs=attrs), "`value` in `greater_param` is for a layer of one input")


@pytest.mark.parametrize("top", ["input0", "input1"])
def test_axpy_is_refused_in_place_on_what_caffe_would_overwrite(top: str) -> None:
    _refused(_several("Axpy", [(1, 2), (1, 2), (1, 2)], top=top), "in place on its third input only")


def test_crelu_is_refused_in_place() -> None:
    _refused(_several("CReLU", [(1, 2)], top="input0"), "cannot work in place")


def test_quantization_by_default_is_the_manuals() -> None:
    rows = {row.type: row.quantizable and row.quantizable.on_by_default for row in UNARY_OPS}
    on = {name for name, default in rows.items() if default}
    never = {name for name, default in rows.items() if default is None}
    assert on == {"BNLL", "CReLU", "ELU", "Exp", "Log", "Threshold", "Hswish", "Sqrt", "Ceil", "Axpy"}
    assert never == {"HardSwish", "HardSigmoid", "Mish"}
    off = {"RReLU", "ReLU6", "Clip", "Swish", "Equal", "Greater", "Sign", "Cos", "Sin", "Erf"}
    assert set(rows) - on - never == off


def test_a_prototxt_may_hold_each_parameter(tmp_path: Path) -> None:
    layers = {
        "ReLU6": "relu6_param { negative_slope: 0.1 threshold: 4 }",
        "RReLU": "rrelu_param { lower: 0.1 upper: 0.2 }",
        "CReLU": "crelu_param { negative_slope: 0.1 concat_axis: -1 }",
        "HardSigmoid": "hardsigmoid_param { alpha: 0.1 beta: 0.6 }",
        "Hswish": "hswish_param { alpha: 0.1 beta: 0.6 }",
        "Equal": "equal_param { value: 1 }",
        "Greater": "greater_param { value: 1 }",
    }
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }\n'
    for kind, parameter in layers.items():
        text += f'layer {{ name: "{kind}" type: "{kind}" bottom: "data" top: "{kind}" {parameter} }}\n'
    path = tmp_path / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    graph = load_caffe(path)
    for kind in layers:
        field = op_table()[f"caffe.{kind}"].parameter
        assert field is not None
        assert field in graph.node(kind).attrs


def _check(kind: str, parameter: Mapping[str, Fields], x: Array, expected: Any) -> None:
    found = _run(one_layer(kind, x.shape, parameter), data=x)
    largest = float(np.abs(np.asarray(expected, np.float64)).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * largest)


def _run(graph: Graph, **inputs: Array) -> NDArray[np.float32]:
    return np.asarray(Executor(graph).run(inputs)[graph.outputs[0]])


def _run_onnx(graph: Graph, data: Array) -> NDArray[np.float32]:
    """The layer alone, on data that the executor does not let in: NaN, nothing at all."""
    model = lower(graph, annotate_shapes(graph))
    session: Any = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"data": data})[0])


def _several(kind: str, shapes: Sequence[Shape], top: str = "out", attrs: Mapping[str, Fields] | None = None) -> Graph:
    """Inputs `input0`, `input1`, ... and one layer behind them."""
    graph = Graph("net")
    inputs = [add_input(graph, shape, f"input{index}") for index, shape in enumerate(shapes)]
    layer = graph.add("layer", f"caffe.{kind}", [node.output for node in inputs], [top], attrs=dict(attrs or {}))
    graph.outputs = [layer.output]
    return graph


def _shape(graph: Graph) -> Shape:
    return annotate_shapes(graph)[graph.outputs[0]]


def _refused(graph: Graph, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        annotate_shapes(graph)
    (found,) = caught.value.diagnostics
    assert found.code == "AM320"
    assert words in found.message
