"""Every blob and every layer's own top against the real Caffe, and against a fork that has layers of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from tests.runtime.caffe_cases import (
    HDF5,
    TRAINING,
    CaffeCase,
    caffe_cases,
    fork_cases,
    forward_cases,
    reject_cases,
)
from tests.runtime.caffe_passes import load_case, run_passes, write_fork_proto
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
    _check_passes(load_case(case), case)


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fork_proto(tmp_path_factory.mktemp("fork"))


@needs_golden
@pytest.mark.parametrize("case", fork_cases(), ids=str)
def test_every_blob_and_top_equals_the_forks(case: CaffeCase, fork: Path) -> None:
    _check_passes(load_case(case, fork), case)


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
    for compared in run_passes(graph, case):
        assert len(compared) >= 2
        assert {each.name: each.difference for each in compared if each.difference > TOLERANCE} == {}
