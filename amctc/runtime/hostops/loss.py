"""Losses and Accuracy, as Caffe computes them in phase TEST. Sums are taken in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.loss import BATCH_SIZE, FULL, L2, VALID, Labelled, ignored_label, labelled, normalization
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.runtime.hostops.bad_values import bad_value
from amctc.runtime.hostops.host_op import Arrays, HostOp, for_op

_LEAST_LOG = 1e-20
"""What MultinomialLogisticLoss and InfogainLoss take the logarithm of at least."""


def _run_softmax_loss(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    layout = labelled(node, inputs[0].shape, inputs[1].shape)
    chances, labels, counted = _classes(node, inputs, layout)
    own = np.take_along_axis(chances, labels[:, np.newaxis], axis=1)[:, 0]
    losses = -np.log(np.maximum(own, np.finfo(np.float32).tiny))
    return _with_softmax(node, inputs[0], losses[counted].sum() / _divisor(node, layout, counted), chances)


def _run_infogain(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    layout = labelled(node, inputs[0].shape, inputs[1].shape)
    chances, labels, counted = _classes(node, inputs, layout)
    gains = inputs[2].astype(np.float64).reshape(layout.classes, layout.classes)[labels].transpose(0, 2, 1)
    losses = -(gains * np.log(np.maximum(chances, _LEAST_LOG))).sum(axis=1)
    return _with_softmax(node, inputs[0], losses[counted].sum() / _divisor(node, layout, counted), chances)


def _run_accuracy(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    layout = labelled(node, inputs[0].shape, inputs[1].shape)
    labels, counted = _labels(node, inputs[1], layout)
    scores = inputs[0].astype(np.float32, copy=False).reshape(layout.outer, layout.classes, layout.inner)
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    better = (scores >= own).sum(axis=1) - 1
    right = (better < params(node, "accuracy_param").top_k) & counted
    total = np.bincount(labels[counted], minlength=layout.classes)
    hits = np.bincount(labels[right], minlength=layout.classes)
    whole = _scalar(hits.sum() / max(int(total.sum()), 1))
    return (whole, (hits / np.maximum(total, 1)).astype(np.float32))[: len(node.outputs)]


def _run_multinomial(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    chances, labels, _ = _flat(node, inputs)
    own = np.take_along_axis(chances, labels, axis=1)
    return (_scalar(-np.log(np.maximum(own, _LEAST_LOG)).sum() / max(len(chances), 1)),)


def _run_hinge(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    scores, labels, _ = _flat(node, inputs)
    own = np.arange(scores.shape[1]) == labels
    lacks = np.maximum(0, 1 + np.where(own, -scores, scores))
    if params(node, "hinge_loss_param").norm == L2:
        lacks = lacks**2
    return (_scalar(lacks.sum() / max(len(scores), 1)),)


def _run_sigmoid_loss(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    x, target = inputs[0].astype(np.float64), inputs[1].astype(np.float64).reshape(inputs[0].shape)
    losses = np.logaddexp(0, -np.abs(x)) - x * (target - (x >= 0))
    ignored = ignored_label(params(node, "loss_param"))
    counted = np.full(x.shape, True) if ignored is None else np.trunc(target) != ignored
    layout = Labelled(len(x), 1, x.size // max(len(x), 1), ignored)
    return (_scalar(losses[counted].sum() / _divisor(node, layout, counted)),)


def _run_euclidean(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    difference = inputs[0].astype(np.float64) - inputs[1].astype(np.float64).reshape(inputs[0].shape)
    return (_scalar((difference**2).sum() / max(len(difference), 1) / 2),)


def _run_contrastive(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    param = params(node, "contrastive_loss_param")
    a, b = (array.astype(np.float64).reshape(array.shape[:2]) for array in inputs[:2])
    squares = ((a - b) ** 2).sum(axis=1)
    if param.legacy_version:
        lacks = np.maximum(param.margin - squares, 0)
    else:
        lacks = np.maximum(param.margin - np.sqrt(squares), 0) ** 2
    similar = np.trunc(inputs[2].reshape(-1)) != 0
    return (_scalar(np.where(similar, squares, lacks).sum() / max(len(a), 1) / 2),)


def _run_smooth_l1(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    arrays = [array.astype(np.float64) for array in inputs]
    square = float(params(node, "smooth_l1_loss_param").sigma) ** 2
    size = np.abs((arrays[0] - arrays[1]) * (arrays[2] if len(arrays) > 2 else 1))
    losses = np.where(size < 1 / square, 0.5 * square * size**2, size - 0.5 / square)
    weights = arrays[3] if len(arrays) > 3 else 1.0
    return (_scalar((losses * weights).sum() / max(len(losses), 1)),)


def _classes(
    node: Node, inputs: Arrays, layout: Labelled
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Softmax [outer, classes, inner], labels [outer, inner] and which of them count."""
    labels, counted = _labels(node, inputs[1], layout)
    scores = inputs[0].astype(np.float64).reshape(layout.outer, layout.classes, layout.inner)
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), labels, counted


def _flat(node: Node, inputs: Arrays) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Scores [N, classes], labels [N, 1] and which of them count: all."""
    scores = inputs[0].astype(np.float64).reshape(len(inputs[0]), math.prod(inputs[0].shape[1:]))
    return scores, *_labels(node, inputs[1], Labelled(len(scores), scores.shape[1], 1, None))


def _labels(node: Node, given: Array, layout: Labelled) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels [outer, inner], 0 where they do not count, and which count.

    Raises `DiagnosticError` (AM432) for a label that is no class; Caffe would read beside the scores.
    """
    found = np.trunc(given.reshape(layout.outer, layout.inner))
    counted = np.full(found.shape, True) if layout.ignored is None else found != layout.ignored
    wrong = counted & ~((found >= 0) & (found < layout.classes))
    if wrong.any():
        message = f"the label {found[wrong][0]:g} is none of its {layout.classes} classes"
        raise bad_value(node, message, "labels count from 0")
    return np.where(counted, found, 0).astype(np.int64), counted


def _divisor(node: Node, layout: Labelled, counted: NDArray[np.bool_]) -> float:
    chosen = normalization(node)
    if chosen == FULL:
        return max(layout.outer * layout.inner, 1)
    if chosen == VALID:
        return max(int(counted.sum()), 1)
    return max(layout.outer, 1) if chosen == BATCH_SIZE else 1


def _with_softmax(node: Node, scores: Array, loss: float, chances: NDArray[np.float64]) -> Arrays:
    return (_scalar(loss), chances.astype(np.float32).reshape(scores.shape))[: len(node.outputs)]


def _scalar(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


LOSS_HOST_OPS: tuple[HostOp, ...] = (
    for_op("caffe.SoftmaxWithLoss", _run_softmax_loss),
    for_op("caffe.InfogainLoss", _run_infogain),
    for_op("caffe.Accuracy", _run_accuracy),
    for_op("caffe.MultinomialLogisticLoss", _run_multinomial),
    for_op("caffe.HingeLoss", _run_hinge),
    for_op("caffe.SigmoidCrossEntropyLoss", _run_sigmoid_loss),
    for_op("caffe.EuclideanLoss", _run_euclidean),
    for_op("caffe.ContrastiveLoss", _run_contrastive),
    for_op("caffe.SmoothL1Loss", _run_smooth_l1),
)
