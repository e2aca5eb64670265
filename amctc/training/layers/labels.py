"""Labels, as losses over classes and Accuracy read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amctc.dialects.caffe.loss import BATCH_SIZE, FULL, VALID, Labelled, normalization
from amctc.runtime.hostops.bad_values import bad_value
from amctc.training.layers.layer import Layer


@dataclass(frozen=True)
class Labels:
    """`places` [outer, inner] are classes, 0 where they do not count; `counted` says which do, None for all."""

    places: Tensor
    counted: Tensor | None


def read_labels(layer: Layer, given: Tensor, layout: Labelled) -> Labels:
    """The labels of a layer: int64. `DiagnosticError` (AM432) for one that is no class."""
    found = given.detach().reshape(layout.outer, layout.inner).trunc()
    counted = None if layout.ignored is None else found != layout.ignored
    if counted is not None:
        found = torch.where(counted, found, 0)
    wrong = ~((found >= 0) & (found < layout.classes))
    if bool(wrong.any()):
        message = f"the label {float(found[wrong][0]):g} is none of its {layout.classes} classes"
        raise bad_value(layer.node, message, "labels count from 0")
    return Labels(found.to(torch.int64), counted)


def total(losses: Tensor, counted: Tensor | None) -> Tensor:
    """The sum of those that count."""
    return losses.sum() if counted is None else torch.where(counted, losses, 0).sum()


def divisor(layer: Layer, layout: Labelled, counted: Tensor | None) -> Tensor | int:
    """What a sum of losses is divided by, 1 at least."""
    chosen, places = normalization(layer.node), layout.outer * layout.inner
    if chosen == FULL or (chosen == VALID and counted is None):
        return max(places, 1)
    if chosen == VALID and counted is not None:
        return counted.sum().clamp(min=1)
    return max(layout.outer, 1) if chosen == BATCH_SIZE else 1
