"""Ops of old opsets, and functions: what is read computes what ONNX Runtime computes of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_nets import load, make_model, normal, run_model
from tests.quantized import outputs

X = "(float[N, 4, 6, 6] x) =>"
OLD = {
    "clip": (9, f"{X} (float[N, 4, 6, 6] y)", "y = Clip <min = -0.5, max = 0.25> (x)"),
    "pad": (9, f"{X} (float[N, 4, 9, 7] y)", "y = Pad <pads = [0, 0, 1, 0, 0, 0, 2, 1], value = 0.5> (x)"),
    "slice": (9, f"{X} (float[N, 2, 6, 3] y)", "y = Slice <axes = [1, 3], starts = [1, -3], ends = [3, 100]> (x)"),
    "softmax over what follows an axis": (9, f"{X} (float[N, 4, 6, 6] y)", "y = Softmax <axis = 1> (x)"),
    "softmax over the last axis": (11, f"{X} (float[N, 4, 6, 6] y)", "y = Softmax <axis = 3> (x)"),
    "upsample": (9, f"{X} (float[N, 4, 12, 18] y)", 'y = Upsample <mode = "nearest"> (x, sizes)'),
    "resize": (10, f"{X} (float[N, 4, 12, 18] y)", 'y = Resize <mode = "nearest"> (x, sizes)'),
    "dropout": (7, f"{X} (float[N, 4, 6, 6] y)", "y = Dropout <ratio = 0.5> (x)"),
    "reduction": (11, f"{X} (float[N, 4] y)", "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)"),
    "sum": (11, f"{X} (float[N, 4, 1, 1] y)", "y = ReduceSum <axes = [2, 3], keepdims = 1> (x)"),
    "split": (11, f"{X} (float[N, 1, 6, 6] y, float[N, 3, 6, 6] z)", "y, z = Split <axis = 1, split = [1, 3]> (x)"),
    "unsqueeze": (11, f"{X} (float[N, 4, 6, 6] y)", "a = Unsqueeze <axes = [1]> (x) y = Squeeze <axes = [1]> (a)"),
    "top": (9, f"{X} (float[N, 4, 6, 2] y, int64[N, 4, 6, 2] z)", "y, z = TopK <axis = 3, k = 2> (x)"),
    "normalization": (7, f"{X} (float[N, 4, 6, 6] y)", "y = BatchNormalization (x, a, b, m, v)"),
    "product": (7, "(float[N, 4] x) => (float[N, 3] y)", "y = Gemm <transB = 1> (x, w, c)"),
}
WEIGHTS = {
    "sizes": np.array([1, 1, 2, 3], np.float32),
    "a": normal((4,), 1),
    "b": normal((4,), 2),
    "m": normal((4,), 3),
    "v": np.abs(normal((4,), 4)) + np.float32(0.5),
    "w": normal((3, 4), 5),
    "c": normal((3,), 6),
}


@pytest.mark.parametrize("name", OLD)
def test_an_op_of_an_old_opset_computes_what_it_did(name: str, tmp_path: Path) -> None:
    opset, signature, body = OLD[name]
    used = {weight: array for weight, array in WEIGHTS.items() if f" {weight}," in body or f" {weight})" in body}
    model = make_model(signature, body, used, opset)
    feeds = {"x": normal((2, 4) if "[N, 4] x" in signature else (2, 4, 6, 6), 7)}
    found, wanted = outputs(load(model, tmp_path), feeds), run_model(model, feeds)
    assert found.keys() == wanted.keys()
    for output, array in wanted.items():
        np.testing.assert_allclose(found[output], array, rtol=1e-6, atol=1e-6, err_msg=output)


def test_the_functions_of_a_model_are_taken_apart(tmp_path: Path) -> None:
    body = """
        a = local.twice (x)
        y = local.twice (a)
    }
    <domain: "local", opset_import: ["": 17]>
    twice (v) => (w) { s = Add (v, v) w = Relu (s)
    """
    model = make_model("(float[N, 4] x) => (float[N, 4] y)", body, imports=', "local": 1')
    feeds = {"x": normal((3, 4), 1)}
    graph = load(model, tmp_path)
    assert [node.type for node in graph.nodes] == ["Input", "Add", "Relu", "Add", "Relu"]
    np.testing.assert_array_equal(outputs(graph, feeds)["y"], np.maximum(4 * feeds["x"], 0))
