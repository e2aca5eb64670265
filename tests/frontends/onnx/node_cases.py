"""The test models of the `onnx` package, run through amctc and compared with what they are to give."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from onnx.reference.ops.op_pool_common import pool as _pool

from amctc.diagnostics import DiagnosticError
from amctc.frontends.onnx import load_onnx
from amctc.ir import Graph
from amctc.runtime.executor import Executor
from amctc.runtime.session import library_errors

Result: TypeAlias = "NDArray[Any] | list[NDArray[Any]] | None"
OTHER_NUMBERS = "numbers"
"""In place of a code: it runs, and gives other numbers."""
_LIST = Path(__file__).parent / "node_models.toml"


@dataclass(frozen=True)
class NodeCase:
    """A model and batches of (inputs, outputs), with the tolerance that the case says."""

    name: str
    model: Any
    batches: tuple[tuple[Sequence[Result], Sequence[Result]], ...]
    rtol: float
    atol: float


@cache
def node_cases() -> tuple[NodeCase, ...]:
    """All node tests, by name. Making them takes some seconds."""
    from onnx.backend.test.loader import load_model_tests
    from onnx.reference.ops import op_pool_common

    # The package computes with infinity; and most of its time goes into three pools over 32x32x32 values.
    with warnings.catch_warnings(), mock.patch.object(op_pool_common, "pool", pool):
        warnings.simplefilter("ignore")
        found: list[Any] = load_model_tests(kind="node")
    cases = [
        NodeCase(
            case.name,
            case.model,
            tuple((_arrays(given), _arrays(wanted)) for given, wanted in case.data_sets),
            case.rtol,
            case.atol,
        )
        for case in found
    ]
    return tuple(sorted(cases, key=lambda case: case.name))


def pool(
    padded: NDArray[Any],
    x_shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    out_shape: Sequence[int],
    pooling_type: str,
    *more: Any,
    **named: Any,
) -> NDArray[Any]:
    """What `pool` of the package's reference gives; without padding and gaps, all windows at once."""
    if more or named.keys() - {"p"}:
        by_window: Any = _pool
        return np.asarray(by_window(padded, x_shape, kernel, strides, out_shape, pooling_type, *more, **named))
    axes = tuple(range(2, padded.ndim))
    steps = tuple(slice(None, None, step) for step in strides or [1] * len(axes))
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), axis=axes)[:, :, *steps]
    flat: NDArray[Any] = windows.reshape(*windows.shape[: padded.ndim], -1)
    if pooling_type == "MAX":
        return np.asarray(flat.max(axis=-1))
    if pooling_type == "AVG":
        return np.asarray(flat.mean(axis=-1))
    p = named.get("p", 1)
    return np.asarray((np.abs(flat) ** p).sum(axis=-1) ** (1.0 / p))


def _arrays(values: Sequence[Any]) -> list[Result]:
    from onnx import TensorProto, numpy_helper

    found = [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in values]
    return [np.asarray(value) if isinstance(value, np.generic) else value for value in found]


def graph_of(case: NodeCase, folder: Path) -> Graph:
    path = folder / f"{case.name}.onnx"
    path.write_bytes(case.model.SerializeToString())
    try:
        return load_onnx(path)
    finally:
        path.unlink()


def run(graph: Graph, case: NodeCase, given: Sequence[Result]) -> list[Result]:
    names = [value.name for value in case.model.graph.input]
    feeds: dict[str, Any] = {name: array for name, array in zip(names, given, strict=False) if name}
    found: Mapping[Any, Any] = Executor(graph, threads=1, finite=False).run(feeds)
    return [found[value] for value in graph.outputs]


def outcome(case: NodeCase, folder: Path) -> str:
    """`` where the model gives what it is to give; else the code of the diagnostic, or OTHER_NUMBERS."""
    try:
        graph = graph_of(case, folder)
        for given, wanted in case.batches:
            if not agree(run(graph, case, given), wanted, case.rtol, case.atol):
                return OTHER_NUMBERS
    except DiagnosticError as refusal:
        return refusal.diagnostics[0].code
    return ""


def by_onnx_runtime(case: NodeCase) -> list[list[Result]] | None:
    """What ONNX Runtime makes of each batch; None where it cannot run the model."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    names = [value.name for value in case.model.graph.input]
    try:
        session: Any = ort.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [session.run(None, dict(zip(names, given, strict=False))) for given, _ in case.batches]
    except library_errors():
        return None


def agree(found: Sequence[Result], wanted: Sequence[Result], rtol: float, atol: float) -> bool:
    return len(found) == len(wanted) and all(_same(a, b, rtol, atol) for a, b in zip(found, wanted, strict=True))


def _same(found: Result, wanted: Result, rtol: float, atol: float) -> bool:
    if isinstance(found, np.ndarray) and isinstance(wanted, np.ndarray):
        if found.dtype != wanted.dtype or found.shape != wanted.shape:
            return False
        if found.dtype.kind in "OSU":
            return bool((found == wanted).all())
        wide = np.complex128 if found.dtype.kind == "c" else np.float64
        return np.allclose(found.astype(wide), wanted.astype(wide), rtol, atol, equal_nan=True)
    if isinstance(found, list) and isinstance(wanted, list):
        return agree(found, wanted, rtol, atol)
    return found is None and wanted is None


@dataclass(frozen=True)
class Listed:
    """Why some models do not run, and what is said then: a diagnostic's code, or OTHER_NUMBERS."""

    reason: str
    outcome: str
    models: tuple[str, ...]


@cache
def listed() -> tuple[Listed, ...]:
    groups = tomllib.loads(_LIST.read_text(encoding="utf-8"))["group"]
    return tuple(Listed(group["reason"], group["outcome"], tuple(group["models"])) for group in groups)


def expected_outcomes() -> dict[str, str]:
    return {name: group.outcome for group in listed() for name in group.models}
