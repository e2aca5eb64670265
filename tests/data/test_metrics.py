from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.runtime.metrics import Accuracy, cosine_similarity, psnr_db, sqnr_db, top_k

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], np.float32)


def test_the_highest_score_is_the_answer_and_the_lower_class_wins_ties() -> None:
    np.testing.assert_array_equal(top_k(SCORES, np.array([1, 0, 1]), 1), [True, True, False])
    np.testing.assert_array_equal(top_k(SCORES, np.array([2, 2, 1]), 2), [True, False, True])


@given(
    arrays.arrays(np.float32, (6, 7), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    arrays.arrays(np.int64, 6, elements=st.integers(0, 6)),
    st.integers(1, 8),
)
def test_hits_are_those_of_a_stable_sort(scores: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> None:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_k(scores, labels, k), (best == labels[:, np.newaxis]).any(axis=1))


def test_a_score_that_is_not_a_number_is_below_all() -> None:
    scores = np.array([[np.nan, -5.0], [-5.0, np.nan]])
    np.testing.assert_array_equal(top_k(scores, np.array([0, 0]), 1), [False, True])


def test_accuracy_adds_up_over_batches_and_merges() -> None:
    scores = np.arange(4 * 10, dtype=np.float32).reshape(4, 10, 1, 1)
    labels = np.array([9, 5, 4, 0])
    whole = Accuracy()
    whole.update(scores[:3], labels[:3])
    whole.update(scores[3:], labels[3:])
    assert whole.to_json() == {"top1": 0.25, "top5": 0.5, "count": 4}
    left, right = Accuracy(), Accuracy()
    left.update(scores[:2], labels[:2])
    right.update(scores[2:], labels[2:])
    left.merge(right)
    assert left == whole
    assert Accuracy().to_json() == {"top1": 0.0, "top5": 0.0, "count": 0}


def test_with_fewer_than_five_classes_top_5_is_always_right() -> None:
    accuracy = Accuracy()
    accuracy.update(SCORES, np.array([2, 2, 2]))
    assert (accuracy.top1, accuracy.top5) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "labels", "code", "message"),
    [
        (SCORES, [0, 3, 1], "AM465", "label 3 is not a class: the scores have 3 classes, 0 to 2"),
        (SCORES, [0, -1, 1], "AM465", "label -1 is not a class: the scores have 3 classes, 0 to 2"),
        (np.zeros(3), [0, 1, 2], "AM466", "the scores have the shape (3,), not (samples, classes)"),
        (np.zeros((3, 2, 4, 4)), [0, 1, 1], "AM466", "the scores have the shape (3, 2, 4, 4), not (samples, classes)"),
    ],
)
def test_labels_and_scores_that_do_not_fit_are_refused(
    scores: NDArray[np.float64], labels: list[int], code: str, message: str
) -> None:
    with pytest.raises(DiagnosticError) as caught:
        top_k(scores, np.array(labels), 1)
    (told,) = caught.value.diagnostics
    assert (told.code, told.message) == (code, message)


def test_another_number_of_labels_than_scores_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="labels of shape"):
        top_k(SCORES, np.array([1, 2]), 1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3], [2, 4, 6], 1.0),
        ([1, 0], [0, 1], 0.0),
        ([1, 1], [-1, -1], -1.0),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [0, 1], 0.0),
        ([3, 4], [4, 3], 24 / 25),
        ([3e-300, 4e-300], [4e300, 3e300], 24 / 25),
    ],
)
def test_cosine_similarity(a: list[float], b: list[float], expected: float) -> None:
    assert cosine_similarity(np.array([a], float), np.array([b], float)) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("reference", "found", "expected"),
    [
        ([10, 0], [9, 0], 20.0),
        ([1, 1], [1, 1], math.inf),
        ([0, 0], [0, 0], math.inf),
        ([0, 0], [0, 1], -math.inf),
        ([1, 1], [0, 0], 0.0),
    ],
)
def test_sqnr_in_decibels(reference: list[float], found: list[float], expected: float) -> None:
    assert sqnr_db(np.array(reference, np.float32), np.array(found, np.float32)) == pytest.approx(expected)


def test_psnr_in_decibels() -> None:
    a = np.zeros((2, 2), np.uint8)
    assert psnr_db(a, a) == math.inf
    assert psnr_db(a, a + np.uint8(255)) == 0.0
    assert psnr_db(a.astype(float), a + 0.1, peak=1.0) == pytest.approx(20.0)


@pytest.mark.parametrize("measure", [cosine_similarity, sqnr_db, psnr_db])
def test_arrays_of_different_shape_are_not_compared(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        measure(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="cannot be compared"):
        measure(np.zeros(0), np.zeros(0))
