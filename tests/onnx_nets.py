"""Small ONNX models for tests, in ONNX's own text, and what ONNX Runtime makes of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

from amctc.frontends import load_model
from amctc.ir import Graph

OPSET = 17


def onnx_text(signature: str, body: str, opset: int = OPSET, imports: str = "") -> str:
    """A model in ONNX's text form: `signature` is `(float[N, 3] x) => (float[N, 2] y)`."""
    return f'<ir_version: 8, opset_import: ["": {opset}{imports}]> net {signature} {{ {body} }}'


def make_model(
    signature: str,
    body: str,
    weights: Mapping[str, NDArray[Any]] | None = None,
    opset: int = OPSET,
    imports: str = "",
) -> ModelProto:
    """A model of that text, with these constants."""
    model = parser.parse_model(onnx_text(signature, body, opset, imports))
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (weights or {}).items())
    return model


def load(model: ModelProto, folder: Path) -> Graph:
    """The graph of a model, through a file."""
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load_model(path)


def run_model(model: ModelProto | Path, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs that ONNX Runtime gives, by name."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session: Any = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def optimized_types(model: ModelProto, folder: Path) -> list[str]:
    """The op types of the nodes that ONNX Runtime runs for a model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


def normal(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Normally distributed float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
