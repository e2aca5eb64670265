"""Losses and Accuracy: definitions and refusals. Recorded figures are in test_caffe_golden."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_table
from amctc.frontends.caffe import load_caffe
from amctc.ir.node import Shape
from amctc.text.plain import Plain
from tests.runtime.host_layer import infer_layer, run_layer
from tests.runtime.nets import random

LOSSES = (
    "SoftmaxWithLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "HingeLoss",
    "SigmoidCrossEntropyLoss",
    "EuclideanLoss",
    "ContrastiveLoss",
    "SmoothL1Loss",
    "Accuracy",
)


def _one(kind: str, inputs: list[NDArray[Any]], parameter: dict[str, dict[str, Plain]] | None = None) -> float:
    return float(run_layer(kind, inputs, parameter or {})[0])


def _labels(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_smooth_l1_weighs_differences_and_losses() -> None:
    a, b, inside, outside = (random((2, 3), seed) for seed in range(4))
    expected = 0.0
    for index in np.ndindex(2, 3):
        d = abs(float((a[index] - b[index]) * inside[index]))
        loss = 0.5 * 4 * d * d if d < 0.25 else d - 0.125
        expected += loss * float(outside[index])
    found = _one("SmoothL1Loss", [a, b, inside, outside], {"smooth_l1_loss_param": {"sigma": 2.0}})
    assert found == pytest.approx(expected / 2, rel=1e-6)


def test_losses_are_left_out_of_a_model_unless_asked_for(tmp_path: Path) -> None:
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
        for name, dims in (("score", "dim: 2 dim: 3"), ("label", "dim: 2"))
    )
    text += 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }\n'
    path = tmp_path / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    assert "l" not in load_caffe(path)
    assert "l" in load_caffe(path, keep_training=True)
    assert all(op_table()[f"caffe.{kind}"].training_only for kind in LOSSES)
    assert all(op_table()[f"caffe.{kind}"].quantizable is None for kind in LOSSES)


def test_a_loss_over_labels_of_which_none_counts_is_nothing() -> None:
    parameter: dict[str, dict[str, Plain]] = {"loss_param": {"ignore_label": 255}}
    assert _one("SoftmaxWithLoss", [random((2, 3)), _labels(255, 255)], parameter) == 0
    ignoring: dict[str, dict[str, Plain]] = {"accuracy_param": {"ignore_label": 255}}
    assert _one("Accuracy", [random((2, 3)), _labels(255, 255)], ignoring) == 0


def test_a_probability_of_nothing_has_the_largest_finite_loss() -> None:
    scores = np.array([[0, 1000]], np.float32)
    assert _one("SoftmaxWithLoss", [scores, _labels(0)]) == pytest.approx(-math.log(np.finfo(np.float32).tiny))
    assert _one("MultinomialLogisticLoss", [scores, _labels(0)]) == pytest.approx(-math.log(1e-20))


def test_scores_that_are_not_numbers_give_losses_that_are_not() -> None:
    scores = np.full((2, 3), np.nan, np.float32)
    for kind in ("SoftmaxWithLoss", "MultinomialLogisticLoss", "HingeLoss"):
        assert math.isnan(_one(kind, [scores, _labels(0, 1)]))
    assert math.isnan(_one("SoftmaxWithLoss", [np.full((1, 2), np.inf, np.float32), _labels(0)]))


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "MultinomialLogisticLoss", "HingeLoss", "Accuracy"])
@pytest.mark.parametrize("label", [3, -1, math.nan, math.inf])
def test_a_label_of_no_class_is_an_error_of_the_layer(kind: str, label: float) -> None:
    with pytest.raises(DiagnosticError, match=rf"AM432.*`layer` \({kind}\): the label .* is none of its 3 classes"):
        _one(kind, [random((2, 3)), _labels(1, label)])


def test_accuracy_of_classes_without_labels_is_nothing() -> None:
    scores = np.array([[3, 1, 2], [1, 2, 3], [9, 0, 1]], np.float32)
    whole, each = run_layer("Accuracy", [scores, _labels(0, 0, 2)], {"accuracy_param": {"top_k": 2}}, tops=2)
    assert float(whole) == pytest.approx(2 / 3)
    assert each.tolist() == [0.5, 0, 1]


def test_infogain_with_the_unit_matrix_is_the_softmax_loss() -> None:
    scores, labels = random((2, 4, 3)), np.array([[0, 1, 3], [2, 2, 1]], np.float32)
    unit = np.eye(4, dtype=np.float32)
    assert _one("InfogainLoss", [scores, labels, unit]) == pytest.approx(
        _one("SoftmaxWithLoss", [scores, labels]), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "InfogainLoss"])
def test_the_second_top_is_the_softmax(kind: str) -> None:
    scores, labels, unit = random((2, 4, 3)), np.zeros((2, 3), np.float32), np.eye(4, dtype=np.float32)
    inputs = [scores, labels, unit][: 2 + (kind == "InfogainLoss")]
    _, found = run_layer(kind, inputs, {}, tops=2)
    powers = np.exp(scores)
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def test_empty_batches_have_no_loss() -> None:
    none = np.zeros((0, 3), np.float32)
    for kind in ("SoftmaxWithLoss", "MultinomialLogisticLoss", "HingeLoss", "Accuracy"):
        assert _one(kind, [none, none[:, 0]]) == 0
    for kind in ("SigmoidCrossEntropyLoss", "EuclideanLoss", "SmoothL1Loss"):
        assert _one(kind, [none, none]) == 0
    assert _one("ContrastiveLoss", [none, none, none[:, 0]]) == 0


@pytest.mark.parametrize(
    ("kind", "shapes", "parameter", "message"),
    [
        ("SoftmaxWithLoss", [(2, 3), (3,)], {}, "need 2 labels, not 3"),
        ("SoftmaxWithLoss", [(2, 3), (2,)], {"softmax_param": {"axis": 2}}, "`axis` 2 is outside"),
        ("SoftmaxWithLoss", [(2, 0), (2,)], {}, "the scores 2x0 are of no class"),
        ("SoftmaxWithLoss", [(2, 3, 2), (4,)], {}, "must be of one batch"),
        ("Accuracy", [(2, 3), (2,)], {"accuracy_param": {"top_k": 4}}, "between 1 and the 3 classes, not be 4"),
        ("Accuracy", [(2, 3), (2,)], {"accuracy_param": {"top_k": 0}}, "not be 0"),
        ("InfogainLoss", [(2, 3), (2,)], {}, "takes its matrix from a third input"),
        ("InfogainLoss", [(2, 3), (2,), (3, 2)], {}, "3 classes need a matrix of 9 numbers, not 3x2"),
        ("HingeLoss", [(2, 3), (2, 2)], {}, "needs one label a sample, not 2x2"),
        ("HingeLoss", [(2, 3), ()], {}, "must be of one batch"),
        ("EuclideanLoss", [(2, 3), (2, 4)], {}, "must be equally large: 2x3 and 2x4"),
        ("ContrastiveLoss", [(2, 3), (2, 3), (3,)], {}, "needs one number a pair"),
        ("ContrastiveLoss", [(2, 3, 2), (2, 3, 2), (2,)], {}, "takes one vector a sample, not 2x3x2"),
        ("SmoothL1Loss", [(2, 3), (2, 3)], {"smooth_l1_loss_param": {"sigma": 0.0}}, "`sigma` must be positive"),
    ],
)
def test_what_has_no_loss_is_refused(
    kind: str, shapes: list[Shape], parameter: dict[str, dict[str, Plain]], message: str
) -> None:
    with pytest.raises(DiagnosticError, match=re.escape(message)):
        infer_layer(kind, shapes, parameter)
