"""Q/DQ models that are read back run with the weights that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.runtime.executor import run_graph
from tests.onnx_nets import load, make_model, normal


def test_weights_between_pairs_are_not_quantized_anew(tmp_path: Path) -> None:
    body = """
        q = QuantizeLinear (x, step, middle)
        d = DequantizeLinear (q, step, middle)
        v = DequantizeLinear <axis = 0> (w, scales)
        c = Conv (d, v)
        p = QuantizeLinear (c, step, middle)
        y = DequantizeLinear (p, step, middle)
    """
    # One channel is so much larger that a scale for both would leave nothing of the other.
    scales, step = np.array([10, 0.01], np.float32), np.float32(0.02)
    integers = np.array([[100, -90, 80], [-70, 60, 50]], np.int8).reshape(2, 3, 1, 1)
    weights: dict[str, NDArray[Any]] = {
        "step": np.array(step),
        "middle": np.array(128, np.uint8),
        "w": integers,
        "scales": scales,
    }
    graph = load(make_model("(float[N, 3, 4, 4] x) => (float[N, 2, 4, 4] y)", body, weights), tmp_path)
    x = np.clip(normal((2, 3, 4, 4)), -1, 1)
    found = run_graph(graph, {"x": x}, ["y"])["y"][:, 1]
    rows = integers[1].reshape(3) * scales[1]
    expected = np.einsum("c,nchw->nhw", rows, np.round(x / step) * step)
    assert np.abs(np.clip(expected, -2.56, 2.54) - found).max() <= step
