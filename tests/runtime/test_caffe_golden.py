"""Every blob and every layer's own top against the real Caffe, and against a fork that has layers of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph, Value
from amctc.runtime.executor import Executor, blob_values
from tests.fork_proto import fork_proto
from tests.runtime.caffe_cases import (
    HDF5,
    TRAINING,
    CaffeCase,
    caffe_cases,
    fork_cases,
    forward_cases,
    reject_cases,
)
from tests.shared_files import needs_golden

TOLERANCE = 2e-6
"""Of a blob's largest magnitude; the worst recorded case has 6e-7."""

NOT_REFUSED = {
    "Reject__unknown_field": "unknown fields are kept and warned of",
    "Reject__softmax_loss_two_tops_no_weight": "the second top is this Caffe's mistake; older and newer ones have it",
    "Reject__softmax_loss_two_tops_with_weights": "as above",
}


@needs_golden
@pytest.mark.parametrize("case", forward_cases(), ids=str)
def test_every_blob_and_top_equals_caffes(case: CaffeCase) -> None:
    _check_passes(load_caffe(case.prototxt, case.caffemodel, state=case.state, keep_training=True), case)


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fork's own proto, but for a layer field whose number is ATC's for another."""
    path = tmp_path_factory.mktemp("fork") / "fork.proto"
    path.write_text(fork_proto(leave_out=["detection_output_param"]), encoding="utf-8")
    return path


@needs_golden
@pytest.mark.parametrize("case", fork_cases(), ids=str)
def test_every_blob_and_top_equals_the_forks(case: CaffeCase, fork: Path) -> None:
    _check_passes(load_caffe(case.prototxt, case.caffemodel, keep_training=True, custom_protos=[fork]), case)


@needs_golden
@pytest.mark.parametrize("case", reject_cases(), ids=str)
def test_what_caffe_refuses_is_refused(case: CaffeCase) -> None:
    if case.name in NOT_REFUSED:
        load_caffe(case.prototxt, keep_training=True)
        return
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(case.prototxt, case.caffemodel, keep_training=True)
    assert all(d.message for d in caught.value.diagnostics)


@needs_golden
def test_every_case_is_run_or_has_a_reason() -> None:
    cases = caffe_cases()
    assert Counter(case.how for case in cases) == {"forward": 421, "reject": 54, "frontend": 5, "not run": 67}
    assert len(cases) == 547
    assert len(fork_cases()) == 59
    # The passes of cases with gradients are compared, their gradients wait for training.
    assert sum(case.gradients for case in cases) == 336
    assert Counter(case.why for case in cases if case.how == "not run") == {TRAINING: 66, HDF5: 1}


def _check_passes(graph: Graph, case: CaffeCase) -> None:
    values = [value for node in graph for value in node.outputs]
    executor = Executor(graph, fetch=values)
    for step in range(case.steps):
        recorded = case.recorded(step)
        if _set_weights(graph, recorded):
            executor = Executor(graph, fetch=values)
        feeds = {name.removeprefix("in/"): array for name, array in recorded.items() if name.startswith("in/")}
        found = executor.run(feeds)
        compared = 0
        for name, expected in recorded.items():
            value = _recorded_value(graph, name)
            if value is not None:
                _compare(found[value], expected, name)
                compared += 1
        assert compared >= 2


def _set_weights(graph: Graph, recorded: Mapping[str, NDArray[np.float32]]) -> bool:
    """The weights as they were before this pass, where they are not those of the file; whether any was set."""
    changed = False
    for node in graph:
        for index, role in enumerate(list(node.weights)):
            if f"param/{node.name}/{index}" in recorded:
                node.weights[role] = recorded[f"param/{node.name}/{index}"]
                changed = True
    return changed


def _recorded_value(graph: Graph, name: str) -> Value | None:
    """The value of `blob/<name>` or `layer/<layer>/<top>`; None for a Split that Caffe put in."""
    if name.startswith("blob/"):
        return blob_values(graph)[name.removeprefix("blob/")]
    if not name.startswith("layer/"):
        return None
    layer, _, index = name.removeprefix("layer/").rpartition("/")
    if layer not in graph:
        assert layer.endswith("_split")
        return None
    return graph.node(layer).outputs[int(index)]


def _compare(found: NDArray[np.generic], expected: NDArray[np.float32], name: str) -> None:
    # The whole nets' tops were recorded for the first few samples only.
    array = np.asarray(found, np.float64)[: len(expected)] if expected.ndim else np.asarray(found, np.float64)
    assert array.shape == expected.shape, name
    finite = np.isfinite(expected)
    assert np.array_equal(array[~finite], expected[~finite], equal_nan=True), name
    if finite.any():
        # Next to -FLT_MAX, which pooling gives for empty windows, nothing else would count.
        huge = np.abs(expected) > 1e30
        assert np.array_equal(array[huge], expected[huge]), name
        usual = finite & ~huge
        largest = float(np.abs(expected[usual]).max(initial=0))
        assert float(np.abs(array[usual] - expected[usual]).max(initial=0)) <= TOLERANCE * largest, name
