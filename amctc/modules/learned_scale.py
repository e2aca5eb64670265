"""The scale of weights where it is a parameter of the training (weight ULQ)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amctc.quant.grid import FLT_EPSILON


class LearnedScale:
    """What is remembered of a learned scale between the steps of a training.

    A scale that is not set is 0. A step may take one below 0: it is put back to that of the last good step. AMCT
    quantizes with it nevertheless, or with 1 in its place. The rule is `amctc.quant.trained_weights.usable_scale`.
    """

    def __init__(self) -> None:
        self._previous: Tensor | None = None

    def mend(self, scale: Tensor, first: Callable[[], Tensor]) -> None:
        """Set every number of a scale that is none above FLT_EPSILON, in place: to what was before, or to `first`."""
        with torch.no_grad():
            good = scale.isfinite() & (scale > float(FLT_EPSILON))
            if not bool(good.all()):
                previous = self._previous if self._previous is not None else first()
                scale.copy_(torch.where(good, scale, previous.to(scale.device)))
            self._previous = scale.detach().clone()
