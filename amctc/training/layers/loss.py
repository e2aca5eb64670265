"""Losses, with Caffe's gradients, and Accuracy, which has none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.loss import L2, Labelled, ignored_label, labelled
from amctc.dialects.caffe.params import params
from amctc.ir.node import Shape
from amctc.training.layers.gradients import with_gradient_of, with_gradients
from amctc.training.layers.labels import divisor, read_labels, total
from amctc.training.layers.layer import Layer, Rule, Run, Tensors

_LEAST_CHANCE = float(np.finfo(np.float32).tiny)
"""What SoftmaxWithLoss takes the logarithm of at least."""

_LEAST_LOG = 1e-20
"""What MultinomialLogisticLoss and InfogainLoss take the logarithm of at least."""

_NEAR = 1e-4
"""What ContrastiveLoss adds to a distance before its gradient is divided by it."""


def softmax_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """-log of the softmax at the label. The bound of the logarithm does not stop the gradient."""
    layout = labelled(layer.node, shapes[0], shapes[1])

    def run(inputs: Tensors) -> Tensors:
        labels = read_labels(layer, inputs[1], layout)
        logs = functional.log_softmax(_by_class(inputs[0], layout), 1)
        losses = -logs.gather(1, labels.places.unsqueeze(1)).squeeze(1)
        losses = with_gradient_of(losses, losses.clamp(max=-math.log(_LEAST_CHANCE)))
        loss = total(losses, labels.counted) / divisor(layer, layout, labels.counted)
        return _with_chances(layer, loss, logs, shapes[0])

    return run


def infogain_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """-H[label] * log(softmax), summed over the classes."""
    layout = labelled(layer.node, shapes[0], shapes[1])

    def run(inputs: Tensors) -> Tensors:
        labels = read_labels(layer, inputs[1], layout)
        logs = functional.log_softmax(_by_class(inputs[0], layout), 1)
        gains = inputs[2].detach().reshape(layout.classes, layout.classes)[labels.places].movedim(-1, 1)
        bounded = with_gradient_of(logs, logs.clamp(min=math.log(_LEAST_LOG)))
        losses = -(gains * bounded).sum(1)
        loss = total(losses, labels.counted) / divisor(layer, layout, labels.counted)
        return _with_chances(layer, loss, logs, shapes[0])

    return run


def multinomial_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """-log of the probability given for the label. Below the bound the gradient is that at the bound."""
    layout = _flat(shapes[0])

    def run(inputs: Tensors) -> Tensors:
        labels = read_labels(layer, inputs[1], layout)
        own = _by_class(inputs[0], layout).gather(1, labels.places.unsqueeze(1))
        bounded = with_gradient_of(own, own.clamp(min=_LEAST_LOG))
        return (-bounded.log().sum() / max(layout.outer, 1),)

    return run


def hinge_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """max(0, 1 + x), with -x for the label's class, or its square."""
    layout = _flat(shapes[0])
    squared = params(layer.node, "hinge_loss_param").norm == L2

    def run(inputs: Tensors) -> Tensors:
        labels = read_labels(layer, inputs[1], layout)
        scores = _by_class(inputs[0], layout).squeeze(-1)
        signs = torch.ones_like(scores).scatter_(1, labels.places, -1.0)
        lacks = functional.relu(1 + signs * scores)
        return ((lacks.square() if squared else lacks).sum() / max(layout.outer, 1),)

    return run


def sigmoid_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Cross entropy of sigmoid(x) and targets, which have no gradient."""
    ignored = ignored_label(params(layer.node, "loss_param"))
    layout = Labelled(shapes[0][0], 1, math.prod(shapes[0][1:]), ignored)

    def run(inputs: Tensors) -> Tensors:
        target = inputs[1].detach().reshape(shapes[0])
        losses = functional.binary_cross_entropy_with_logits(inputs[0], target, reduction="none")
        counted = None if ignored is None else target.trunc() != ignored
        return (total(losses, counted) / divisor(layer, layout, counted),)

    return run


def euclidean_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Half the sum of squared differences over the size of the batch; both inputs have a gradient."""
    count = max(shapes[0][0], 1)
    return lambda inputs: ((inputs[0] - inputs[1].reshape(shapes[0])).square().sum() / count / 2,)


def contrastive_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Squared distance of similar pairs, squared lack of distance of others, halved, over the number of pairs."""
    param = params(layer.node, "contrastive_loss_param")
    margin, legacy, count = float(param.margin), bool(param.legacy_version), max(shapes[0][0], 1)

    def run(inputs: Tensors) -> Tensors:
        apart = (inputs[0] - inputs[1]).detach()
        similar = inputs[2].detach().reshape(-1).trunc() != 0
        squares = apart.reshape(count, -1).square().sum(1) if len(apart) else apart.new_zeros(0)
        lacks = margin - (squares if legacy else squares.sqrt())
        losses = torch.where(similar, squares, lacks.clamp(min=0) if legacy else lacks.clamp(min=0).square())
        steep = torch.where(lacks > 0, torch.ones_like(lacks) if legacy else lacks / (squares.sqrt() + _NEAR), 0.0)
        slopes = (torch.where(similar, 1.0, -steep) / count).reshape(-1, *(1,) * (apart.dim() - 1)) * apart

        def back(gradient: Tensor) -> Tensors:
            return gradient * slopes, -gradient * slopes

        return (with_gradients(losses.sum() / count / 2, inputs[:2], back), apart)[: len(layer.node.outputs)]

    return run


def accuracy(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The share of labels among the `top_k` largest scores; of equal scores the label's counts as the last."""
    layout = labelled(layer.node, shapes[0], shapes[1])
    best = int(params(layer.node, "accuracy_param").top_k)

    def run(inputs: Tensors) -> Tensors:
        labels = read_labels(layer, inputs[1], layout)
        scores = _by_class(inputs[0].detach(), layout)
        own = scores.gather(1, labels.places.unsqueeze(1))
        right = (scores >= own).sum(1) - 1 < best
        counted = torch.ones_like(right) if labels.counted is None else labels.counted
        total = torch.bincount(labels.places[counted], minlength=layout.classes).to(scores.dtype)
        hits = torch.bincount(labels.places[right & counted], minlength=layout.classes).to(scores.dtype)
        whole = hits.sum() / total.sum().clamp(min=1)
        return (whole, hits / total.clamp(min=1))[: len(layer.node.outputs)]

    return run


def _by_class(scores: Tensor, layout: Labelled) -> Tensor:
    return scores.reshape(layout.outer, layout.classes, layout.inner)


def _flat(shape: Shape) -> Labelled:
    """One label a sample; all axes behind the first are classes."""
    return Labelled(shape[0], math.prod(shape[1:]), 1, None)


def _with_chances(layer: Layer, loss: Tensor, logs: Tensor, shape: Shape) -> Tensors:
    """The loss and, where there is a second top, the softmax, whose own gradient counts for nothing, as in Caffe."""
    return (loss,) if len(layer.node.outputs) == 1 else (loss, logs.detach().exp().reshape(shape))


LOSS_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.SoftmaxWithLoss": softmax_loss,
        "caffe.InfogainLoss": infogain_loss,
        "caffe.MultinomialLogisticLoss": multinomial_loss,
        "caffe.HingeLoss": hinge_loss,
        "caffe.SigmoidCrossEntropyLoss": sigmoid_loss,
        "caffe.EuclideanLoss": euclidean_loss,
        "caffe.ContrastiveLoss": contrastive_loss,
        "caffe.Accuracy": accuracy,
    }
)
