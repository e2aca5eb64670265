"""Every blob and every layer's own top against the real Caffe.

Not here: nets recorded in phase TRAIN, whose statistics move, and layers that the op table does not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph, Value
from amctc.runtime.executor import Executor, blob_values
from tests.runtime.caffe_cases import CaffeCase, forward_cases, reject_cases
from tests.shared_files import needs_golden

TOLERANCE = 2e-6
"""Of a blob's largest magnitude; the worst recorded case has 6e-7."""

LEFT_TO_THE_FRONTEND = {
    "Reject__unknown_field": "unknown fields are kept and warned of",
}


@needs_golden
@pytest.mark.parametrize("case", forward_cases(), ids=str)
def test_every_blob_and_top_equals_caffes(case: CaffeCase) -> None:
    graph = load_caffe(case.prototxt, case.caffemodel)
    for step in range(case.steps):
        recorded = case.recorded(step)
        _set_weights(graph, recorded)
        values = [value for node in graph for value in node.outputs]
        feeds = {name.removeprefix("in/"): array for name, array in recorded.items() if name.startswith("in/")}
        found = Executor(graph, fetch=values).run(feeds)
        compared = 0
        for name, expected in recorded.items():
            value = _recorded_value(graph, name)
            if value is not None:
                _compare(found[value], expected, name)
                compared += 1
        assert compared >= 2


@needs_golden
@pytest.mark.parametrize("case", reject_cases(), ids=str)
def test_what_caffe_refuses_is_refused(case: CaffeCase) -> None:
    if case.name in LEFT_TO_THE_FRONTEND:
        load_caffe(case.prototxt)
        return
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(case.prototxt)
    assert all(d.message for d in caught.value.diagnostics)


@needs_golden
def test_the_cases_cover_the_table() -> None:
    assert len(forward_cases()) >= 255
    assert len(reject_cases()) > 35


def _set_weights(graph: Graph, recorded: Mapping[str, NDArray[np.float32]]) -> None:
    """The weights as they were before this pass (the frontend has them from the caffemodel)."""
    for node in graph:
        for index, role in enumerate(list(node.weights)):
            if f"param/{node.name}/{index}" in recorded:
                node.weights[role] = recorded[f"param/{node.name}/{index}"]


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
