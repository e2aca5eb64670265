"""Losses and Accuracy: layers that serve training and testing only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from amctc.dialects.caffe.blobs import axis_of, describe, need_equal
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Shape

FULL, VALID, BATCH_SIZE, NONE = range(4)
"""By what a loss is divided: all labels, those that count, the batch, or 1."""

L2 = 2


@dataclass(frozen=True)
class Labelled:
    """How scores and labels lie in their blobs: scores are [outer, classes, inner], labels [outer, inner]."""

    outer: int
    classes: int
    inner: int
    ignored: int | None
    """The label that does not count."""


def labelled(node: Node, scores: Shape, labels: Shape) -> Labelled:
    """The layout of a loss over classes, or of Accuracy. Raises `OpError` where there is not one label a place."""
    accuracy, infogain = node.op == "caffe.Accuracy", node.op == "caffe.InfogainLoss"
    name = "accuracy_param" if accuracy else "infogain_loss_param" if infogain else "softmax_param"
    axis = axis_of(params(node, name).axis, len(scores))
    found = Labelled(
        math.prod(scores[:axis]),
        scores[axis],
        math.prod(scores[axis + 1 :]),
        ignored_label(params(node, "accuracy_param" if accuracy else "loss_param")),
    )
    if found.classes < 1:
        raise OpError(f"the scores {describe(scores)} are of no class")
    if math.prod(labels) != found.outer * found.inner:
        raise OpError(
            f"scores {describe(scores)} with the classes along axis {axis} need {found.outer * found.inner} labels, "
            f"not {describe(labels)}"
        )
    return found


def ignored_label(param: Any) -> int | None:
    """`ignore_label`, where it is given."""
    return int(param.ignore_label) if param.HasField("ignore_label") else None


def normalization(node: Node) -> int:
    """One of FULL, VALID, BATCH_SIZE, NONE: `normalization`, the old `normalize`, or the op's default."""
    param = params(node, "loss_param")
    if param.HasField("normalization"):
        return int(param.normalization)
    if param.HasField("normalize"):
        return VALID if param.normalize else BATCH_SIZE
    return BATCH_SIZE if node.op == "caffe.SigmoidCrossEntropyLoss" else VALID


def loss_weights(node: Node) -> tuple[float, ...]:
    """By how much each output counts as loss: what `loss_weight` says, or 1 for the first output of a loss."""
    given = node.attrs.get("loss_weight", ())
    said = given if isinstance(given, tuple) else (given,)
    if not said:
        said = (1.0,) if node.op.endswith("Loss") else ()
    numbers = tuple(float(weight) if isinstance(weight, int | float) else 0.0 for weight in said)
    return (*numbers, *(0.0,) * len(node.outputs))[: len(node.outputs)]


def _need_batch(shapes: tuple[Shape, ...]) -> None:
    if not all(shapes) or shapes[0][0] != shapes[1][0]:
        raise OpError(
            f"scores and labels must be of one batch: {describe(shapes[0])} and {describe(shapes[1])} differ in axis 0"
        )


def _infer_softmax_loss(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    labelled(node, shapes[0], shapes[1])
    _need_batch(shapes)
    return ((), shapes[0])[: len(node.outputs)]


def _infer_infogain(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if len(shapes) < 3:
        raise OpError("takes its matrix from a third input; one from a file (`source`) is not read")
    classes = labelled(node, shapes[0], shapes[1]).classes
    _need_batch(shapes)
    if math.prod(shapes[2]) != classes**2:
        raise OpError(f"{classes} classes need a matrix of {classes**2} numbers, not {describe(shapes[2])}")
    return ((), shapes[0])[: len(node.outputs)]


def _infer_accuracy(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    layout, best = labelled(node, shapes[0], shapes[1]), params(node, "accuracy_param").top_k
    if not 1 <= best <= layout.classes:
        raise OpError(f"`top_k` must lie between 1 and the {layout.classes} classes, not be {best}")
    return ((), (layout.classes,))[: len(node.outputs)]


def _infer_one_label(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """One label a sample, all axes behind the first are classes."""
    _need_batch(shapes)
    if math.prod(shapes[1][1:]) != 1:
        raise OpError(f"needs one label a sample, not {describe(shapes[1])}")
    return ((),)


def _infer_difference(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _need_batch(shapes)
    if math.prod(shapes[0]) != math.prod(shapes[1]):
        raise OpError(f"the inputs must be equally large: {describe(shapes[0])} and {describe(shapes[1])}")
    return ((),)


def _infer_contrastive(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_equal(shapes[:2])
    _need_batch(shapes)
    if math.prod(shapes[0][2:]) != 1 or len(shapes[0]) < 2:
        raise OpError(f"takes one vector a sample, not {describe(shapes[0])}")
    if math.prod(shapes[2]) != shapes[0][0]:
        raise OpError(f"needs one number a pair in the third input, not {describe(shapes[2])}")
    return ((), shapes[0])[: len(node.outputs)]


def _infer_smooth_l1(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_equal(shapes)
    _need_batch(shapes)
    sigma = params(node, "smooth_l1_loss_param").sigma
    if not 0 < sigma < math.inf:
        raise OpError(f"`sigma` must be positive, not {sigma:g}")
    return ((),)


_TWO, _THREE, _SECOND = Arity(2, 2), Arity(3, 3), Arity(1, 2)
_PLAIN = "the top is not multiplied by `loss_weight`, as in Caffe"

LOSS_OPS: tuple[OpDef, ...] = tuple(
    OpDef(name, summary, inputs, outputs, infer, parameter=parameter, training_only=True, notes=notes)
    for name, summary, inputs, outputs, infer, parameter, notes in (
        (
            "caffe.SoftmaxWithLoss",
            "-log of the probability that softmax gives the label, mean over the labels",
            _TWO,
            _SECOND,
            _infer_softmax_loss,
            "loss_param",
            f"the axis is that of `softmax_param`; a second top (Caffe 1.0 cannot build it) is the softmax; {_PLAIN}",
        ),
        (
            "caffe.InfogainLoss",
            "-H[label] * log(softmax), summed over the classes, mean over the labels",
            Arity(2, 3),
            _SECOND,
            _infer_infogain,
            "infogain_loss_param",
            "the matrix H is the third input; one from a file (`source`) is refused; the second top is the softmax",
        ),
        (
            "caffe.MultinomialLogisticLoss",
            "-log of the probability given for the label, mean over the batch",
            _TWO,
            ONE,
            _infer_one_label,
            "loss_param",
            "",
        ),
        (
            "caffe.HingeLoss",
            "max(0, 1 + x), with -x for the label's class, or its square, summed, over the size of the batch",
            _TWO,
            ONE,
            _infer_one_label,
            "hinge_loss_param",
            "",
        ),
        (
            "caffe.SigmoidCrossEntropyLoss",
            "cross entropy of sigmoid(x) and targets, summed, by default over the size of the batch",
            _TWO,
            ONE,
            _infer_difference,
            "loss_param",
            _PLAIN,
        ),
        (
            "caffe.EuclideanLoss",
            "sum of squared differences over twice the size of the batch",
            _TWO,
            ONE,
            _infer_difference,
            "loss_param",
            "",
        ),
        (
            "caffe.ContrastiveLoss",
            "squared distance of similar pairs, squared lack of distance of others, over twice the size of the batch",
            _THREE,
            ONE,
            _infer_contrastive,
            "contrastive_loss_param",
            "",
        ),
        (
            "caffe.SmoothL1Loss",
            "squared near 0, linear elsewhere, summed, over the size of the batch",
            Arity(2, 4),
            ONE,
            _infer_smooth_l1,
            "smooth_l1_loss_param",
            "as in Fast R-CNN's Caffe: a third input is multiplied with the difference, a fourth with its loss",
        ),
        (
            "caffe.Accuracy",
            "share of labels that are among the `top_k` largest scores",
            _TWO,
            _SECOND,
            _infer_accuracy,
            "accuracy_param",
            "of equal scores the label's counts as the last; the second top is the share for each class",
        ),
    )
)
