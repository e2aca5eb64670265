"""One iteration's change of all weights: clipped, divided, decayed, and by the solver's rule, in Caffe's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from amctc.training.parameters import Parameter
from amctc.training.solver_file import Regularization, SolverFile
from amctc.training.updates import HISTORIES, UpdateRule, clip_factor, float32, regularize


class WeightUpdate:
    """Changes weights by their gradients, and keeps the history that the solver's rule needs."""

    def __init__(self, file: SolverFile, parameters: Sequence[Parameter]) -> None:
        self._rule = UpdateRule.of(file)
        self._parameters = parameters
        self._clip = float32(file.clip_gradients)
        decay = float32(file.weight_decay)
        self._decays = [float32(decay * float32(each.decay_mult)) for each in parameters]
        self._kind: Regularization = file.regularization
        self._share = float32(1 / file.iter_size)
        self._history = [
            tuple(torch.zeros_like(each.tensor, requires_grad=False) for _ in range(HISTORIES[file.type]))
            for each in parameters
        ]

    def begin(self) -> None:
        """Forget the gradients."""
        for each in self._parameters:
            each.tensor.grad = None

    @torch.no_grad()
    def apply(self, rate: float, iteration: int) -> tuple[float, float]:
        """Change every weight whose `lr_mult` is not 0, one that no gradient has reached too: it decays.

        `rate` is the learning rate of the iteration, which counts from 0. Gives what `clip_factor` found.
        """
        found = [each.tensor.grad for each in self._parameters]
        norm, factor = clip_factor([gradient for gradient in found if gradient is not None], self._clip)
        rates = {each.lr_mult: float32(rate * float32(each.lr_mult)) for each in self._parameters}
        places = zip(self._parameters, found, self._history, self._decays, strict=True)
        for each, reached, history, decay in places:
            if each.lr_mult == 0:
                continue
            gradient = torch.zeros_like(each.tensor) if reached is None else reached
            if factor != 1:
                gradient.mul_(factor)
            if self._share != 1:
                gradient.mul_(self._share)
            regularize(gradient, each.tensor, decay, self._kind)
            step = self._rule.step(gradient, history, rates[each.lr_mult], iteration)
            each.tensor.sub_(step)
        return norm, factor

    def history(self) -> list[NDArray[np.float32]]:
        """Caffe's order: the first tensor of every weight, then the second of every weight where there is one."""
        return [each[kind].cpu().numpy().copy() for kind in range(self._kinds) for each in self._history]

    def set_history(self, arrays: Sequence[NDArray[np.float32]]) -> None:
        """What `history` gave, on the same weights. Shapes and their number are the caller's to check."""
        places = [each[kind] for kind in range(self._kinds) for each in self._history]
        for place, array in zip(places, arrays, strict=True):
            place.copy_(torch.from_numpy(array).reshape(place.shape))

    @property
    def history_shapes(self) -> list[tuple[int, ...]]:
        """Of the arrays of `history`."""
        return [tuple(each[kind].shape) for kind in range(self._kinds) for each in self._history]

    @property
    def _kinds(self) -> int:
        return HISTORIES[self._rule.type]
