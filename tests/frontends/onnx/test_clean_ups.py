"""The float clean-ups on ONNX graphs keep what the networks compute."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from tests.frontends.onnx.models import by_onnx_runtime, loaded, model_of, run
from tests.frontends.onnx.test_whole_models import close, random_data
from tests.passes.clean_ups import clean
from tests.shared_files import ASSETS, needs_assets

NUMBERS = np.random.default_rng(7)
STEPS = (
    "Conv <pads = [1, 1, 1, 1]> ({0}, k)",
    "Conv <pads = [1, 1, 1, 1]> ({0}, k, c)",
    "BatchNormalization ({0}, scale, c, c, variance)",
    "Mul ({0}, factor)",
    "Add (factor, {0})",
    "Sub ({0}, factor)",
    "Sub (factor, {0})",
    "Div ({0}, factor)",
    "Add ({0}, x)",
    "Relu ({0})",
    "Identity ({0})",
    "Dropout ({0})",
    "Transpose <perm = [0, 1, 3, 2]> ({0})",
    "Reshape ({0}, shape)",
    "MatMul ({0}, square)",
    "Mul ({0}, one)",
)
WEIGHTS: dict[str, ArrayLike] = {
    "k": NUMBERS.normal(size=(3, 3, 3, 3)).astype(np.float32),
    "c": NUMBERS.normal(size=3).astype(np.float32),
    "scale": NUMBERS.normal(size=3).astype(np.float32),
    "variance": NUMBERS.uniform(0.5, 2, 3).astype(np.float32),
    "factor": NUMBERS.uniform(0.5, 2, (1, 3, 1, 1)).astype(np.float32),
    "one": np.array(1.5, np.float32),
    "shape": np.array([0, 3, 4, 4], np.int64),
    "square": NUMBERS.normal(size=(4, 4)).astype(np.float32),
}


@needs_assets
@pytest.mark.parametrize("name", ["efficientnet_lite0", "lprnet", "ultraface_slim_320_bn"])
def test_the_real_networks_compute_what_they_computed(name: str, tmp_path: Path) -> None:
    path = ASSETS / "onnx" / f"{name}.onnx"
    model = onnx.load(path)
    feeds = random_data(model, path)
    graph = loaded(model, tmp_path)
    before = len(graph)
    clean(graph, "float")
    assert len(graph) <= before
    close(run(graph, feeds), by_onnx_runtime(model, feeds))


@pytest.mark.hypothesis
@settings(max_examples=min(60, settings().max_examples))
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=8), st.integers(0, 1))
def test_chains_of_layers_compute_what_they_computed(steps: list[str], more: int) -> None:
    lines = [f"v{number + 1} = {step.format(f'v{number}')}" for number, step in enumerate(["Relu ({0})", *steps])]
    last = f"v{len(lines)}"
    outputs = [last, f"v{len(lines) // 2}"] if more and len(lines) // 2 else [last]
    declared = ", ".join(f"float[N, 3, 4, 4] {name}" for name in dict.fromkeys(outputs))
    body = " ".join(lines).replace("v0", "x")
    model = model_of(f"g (float[N, 3, 4, 4] x) => ({declared}) {{ {body} }}", weights=WEIGHTS)
    feeds = {"x": NUMBERS.normal(size=(2, 3, 4, 4)).astype(np.float32)}
    wanted = by_onnx_runtime(model, feeds)
    with tempfile.TemporaryDirectory() as folder:
        graph = loaded(model, Path(folder))
    clean(graph, "float")
    for a, b in zip(run(graph, feeds), wanted, strict=True):
        assert np.abs(a - b).max() <= 1e-4 * max(float(np.abs(b).max()), 1e-6)


def test_what_passes_compute_becomes_a_constant_of_onnx(tmp_path: Path) -> None:
    text = (
        "g (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y) { a = ConstantOfShape (n) b = Add (a, one) y = Add (x, b) }"
    )
    model = model_of(text, weights={**WEIGHTS, "n": np.array([1, 3, 4, 4], np.int64)})
    graph = loaded(model, tmp_path)
    clean(graph, "fold-constants")
    assert {node.dialect for node in graph.nodes} == {"onnx"}
    assert (run(graph, {"x": np.zeros((1, 3, 4, 4))})[0] == 1.5).all()


def test_what_nobody_reads_any_more_brings_no_layer_of_caffe_in(tmp_path: Path) -> None:
    text = (
        "g (float[N, 4, 8, 8] x) => (float[N, 2, 8, 8] y) "
        "{ a, b = Split <axis = 1, num_outputs = 2> (x) c = Relu (b) y = Relu (a) }"
    )
    graph = loaded(model_of(text, 18), tmp_path)
    clean(graph, "remove-dead")
    assert [node.op for node in graph.nodes] == ["onnx.Input", "onnx.Split", "onnx.Relu"]
