"""Whatever the network: every form of the ONNX model computes what the quantized graph does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.frontends import load_model
from amctc.targets.onnx.model import deploy_model, fake_quant_model, float_model, qdq_model
from tests.onnx_nets import load, make_model, normal, run_model
from tests.quantized import outputs, quantize

POLICIES = (
    "",
    "activation_offset: false",
    'override_layer_types { layer_type: "Add" calibration_config { ifmr_quantize { } } }',
    "common_config { arq_quantize { channel_wise: false } hfmg_quantize { } }",
)
STEPS = ("conv", "depthwise", "relu", "clip", "maxpool", "avgpool", "add", "concat", "transpose", "sigmoid", "matmul")


@dataclass
class Net:
    """A network of [N, 4, 8, 8] values that grows step by step."""

    body: list[str] = field(default_factory=list[str])
    weights: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    values: list[str] = field(default_factory=lambda: ["x"])

    def step(self, kind: str, other: int) -> None:
        name, data = f"v{len(self.values)}", self.values[-1]
        second = self.values[other % len(self.values)]
        self.body.append(f"{name} = {self._call(kind, name, data, second)}")
        self.values.append(name)

    def _call(self, kind: str, name: str, data: str, second: str) -> str:
        match kind:
            case "conv":
                weight, bias = self._weight(name, (4, 4, 3, 3)), self._weight(f"{name}b", (4,))
                return f"Conv <pads = [1, 1, 1, 1]> ({data}, {weight}, {bias})"
            case "depthwise":
                return f"Conv <group = 4, pads = [0, 1, 2, 1]> ({data}, {self._weight(name, (4, 1, 3, 3))})"
            case "clip":
                self.weights |= {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
                return f"Clip ({data}, zero, one)"
            case "maxpool":
                return f"MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({data})"
            case "avgpool":
                return f"AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({data})"
            case "add":
                return f"Add ({data}, {second})"
            case "concat":
                self.body.append(f"{name}c = Concat <axis = 1> ({data}, {second})")
                return f"Conv ({name}c, {self._weight(name, (4, 8, 1, 1))})"
            case "transpose":
                return f"Transpose <perm = [0, 1, 3, 2]> ({data})"
            case "matmul":
                return f"MatMul ({data}, {self._weight(name, (8, 8))})"
            case _:
                return f"{kind.capitalize()} ({data})"

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        self.weights[f"{name}w"] = normal(shape, len(self.weights)) / np.float32(np.sqrt(np.prod(shape[1:])))
        return f"{name}w"


@pytest.mark.hypothesis
@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=1, max_size=7), st.sampled_from(POLICIES)
)
def test_every_form_computes_what_the_graph_does(steps: list[tuple[str, int]], policy: str) -> None:
    net = Net()
    net.step("conv", 0)
    for kind, other in steps:
        net.step(kind, other)
    signature = f"(float[N, 4, 8, 8] x) => (float[N, 4, 8, 8] {net.values[-1]})"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = make_model(signature, "\n".join(net.body), net.weights)
        graph = load(source, place)
        feeds = {"x": normal((3, 4, 8, 8), 5)}
        (float_output,) = run_model(source, feeds).values()
        (exported,) = run_model(float_model(graph), feeds).values()
        np.testing.assert_allclose(exported, float_output, rtol=0, atol=1e-5 * float(np.abs(float_output).max()))
        quantize(graph, [{"x": normal((4, 4, 8, 8), seed)} for seed in range(2)], policy)
        (wanted,) = outputs(graph, feeds).values()
        size = float(np.abs(wanted).max()) + 1e-6
        (fake,) = run_model(fake_quant_model(graph), feeds).values()
        # A number in the middle of two integers may go either way, which later layers make more of.
        assert np.isclose(fake, wanted, rtol=0, atol=1e-4 * size).mean() > 0.99
        (pairs,) = run_model(qdq_model(graph), feeds).values()
        assert np.abs(pairs - wanted).max() <= 0.1 * size
        assert np.abs(pairs - wanted).mean() <= 0.01 * size
        (place / "deploy.onnx").write_bytes(deploy_model(graph).SerializeToString())
        (again,) = outputs(load_model(place / "deploy.onnx"), feeds).values()
        np.testing.assert_allclose(again, wanted, rtol=0, atol=1e-6 * size)
