"""Small ONNX models from ONNX's own text form, and what ONNX Runtime makes of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, helper, numpy_helper, parser

from amctc.diagnostics import Collector, DiagnosticError
from amctc.frontends.onnx import load_onnx
from amctc.ir import Graph
from amctc.runtime.executor import Executor


def model_of(graph: str, opset: int = 17, weights: Mapping[str, ArrayLike] | None = None, **domains: int) -> ModelProto:
    """`graph` is like `g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }`; `weights` become initializers."""
    imports = [("", opset), *((name.replace("_", "."), version) for name, version in domains.items())]
    header = ", ".join(f'"{domain}" : {version}' for domain, version in imports)
    model = parser.parse_model(f"<ir_version: 8, opset_import: [{header}]> {graph}")
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    model.graph.initializer.extend(tensors)
    return model


def saved(model: ModelProto | bytes, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def loaded(model: ModelProto | bytes, folder: Path, collector: Collector | None = None) -> Graph:
    return load_onnx(saved(model, folder), collector)


def refusal(model: ModelProto | bytes, folder: Path) -> DiagnosticError:
    """What loading the model raises."""
    try:
        loaded(model, folder)
    except DiagnosticError as found:
        return found
    raise AssertionError("it was read")


def codes(found: DiagnosticError) -> list[str]:
    return [each.code for each in found.diagnostics]


def run(graph: Graph, feeds: Mapping[str, ArrayLike]) -> list[NDArray[Any]]:
    found = Executor(graph, threads=1).run(feeds)
    return [found[value] for value in graph.outputs]


def by_onnx_runtime(model: ModelProto, feeds: Mapping[str, ArrayLike]) -> list[NDArray[Any]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, {name: np.asarray(array) for name, array in feeds.items()})
    return found


def graph_with(*nodes: Any, inputs: Any, outputs: Any, opset: int = 17) -> ModelProto:
    """A model of protos, for what the text form cannot say."""
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
