"""Ops that nobody knows run where a host op is registered for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amctc
from amctc.diagnostics import DiagnosticError
from tests.frontends.onnx.models import codes, loaded, model_of, run

GAIN = "g (float[N, 3] x) => (float[N, 3] y) { a = my.domain.Gain <factor = 3.0> (x, w) y = Relu (a) }"
WEIGHTS = {"w": np.array([1, -1, 1], np.float32)}


def gain(node: Any, inputs: tuple[Any, ...], shapes: tuple[Any, ...]) -> Any:
    (weight,) = node.weights.values()
    return inputs[0] * weight * node.attrs["factor"]


@pytest.fixture
def registered() -> Iterator[None]:
    registration = amctc.register_host_op("onnx.my.domain.Gain", gain, infer=lambda node, shapes: shapes)
    yield
    registration.remove()


@pytest.mark.usefixtures("registered")
def test_a_registered_host_op_runs_an_op_of_another_domain(tmp_path: Path) -> None:
    graph = loaded(model_of(GAIN, weights=WEIGHTS, my_domain=1), tmp_path)
    assert graph.outputs[0].shape == (1, 3)
    (found,) = run(graph, {"x": [[1, 2, 3], [4, -5, 6]]})
    assert found.dtype == np.float32
    assert found.tolist() == [[3, 0, 9], [12, 15, 18]]


@pytest.mark.usefixtures("registered")
def test_what_a_host_op_gives_has_the_type_that_the_file_says(tmp_path: Path) -> None:
    text = "g (int64[3] x) => (int64[3] y) { y = my.domain.Gain <factor = 2.0> (x, w) }"
    graph = loaded(model_of(text, weights={"w": np.array([1, 2, 3])}, my_domain=1), tmp_path)
    (found,) = run(graph, {"x": [1, 1, 2**40]})
    assert found.dtype == np.int64
    assert found.tolist() == [2, 4, 6 * 2**40]


def test_without_one_the_diagnostic_says_what_to_register(tmp_path: Path) -> None:
    graph = loaded(model_of(GAIN, weights=WEIGHTS, my_domain=1), tmp_path)
    with pytest.raises(DiagnosticError) as caught:
        run(graph, {"x": [[1, 2, 3]]})
    assert codes(caught.value) == ["AM436"]
    assert 'amctc.register_host_op("onnx.my.domain.Gain", run)' in str(caught.value.diagnostics[0].help)


@pytest.mark.parametrize("type", ["onnx.Relu", "onnx.Sin", "onnx.com.microsoft.Gelu"])
def test_ops_that_onnx_runtime_has_cannot_be_taken_over(type: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        amctc.register_host_op(type, gain)
    assert codes(caught.value) == ["AM435"]
