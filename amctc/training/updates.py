"""How Caffe's six solvers change a weight by its gradient: pure functions on float32 tensors.

Every function gives the step that is to be subtracted from the weight, and writes the history that it is given. The
order of operations is Caffe's, so that the rounding is too: scalars are float32 before they meet a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from amctc.training.learning_rate import adam_correction
from amctc.training.solver_file import Regularization, SolverFile, SolverType

HISTORIES: Final[Mapping[SolverType, int]] = {
    "SGD": 1,
    "Nesterov": 1,
    "AdaGrad": 1,
    "RMSProp": 1,
    "AdaDelta": 2,
    "Adam": 2,
}
"""How many tensors a solver keeps for each weight."""


@dataclass(frozen=True)
class UpdateRule:
    """The settings of a solver, as Python floats that are exactly float32."""

    type: SolverType
    momentum: float
    momentum2: float
    rms_decay: float
    delta: float

    @classmethod
    def of(cls, file: SolverFile) -> UpdateRule:
        return cls(file.type, *map(float32, (file.momentum, file.momentum2, file.rms_decay, file.delta)))

    def step(self, gradient: Tensor, history: Sequence[Tensor], local_rate: float, iteration: int) -> Tensor:
        """What is to be subtracted from a weight, in its shape.

        `gradient` may be overwritten; `history` are `HISTORIES` tensors of the same shape, which begin as zeros and are
        written. `local_rate` is the rate times the weight's `lr_mult`, rounded to float32; iterations count from 0.
        """
        match self.type:
            case "SGD":
                return _sgd(gradient, history[0], local_rate, self.momentum)
            case "Nesterov":
                return _nesterov(gradient, history[0], local_rate, self.momentum)
            case "AdaGrad":
                return _adagrad(gradient, history[0], local_rate, self.delta)
            case "RMSProp":
                return _rmsprop(gradient, history[0], local_rate, self.rms_decay, self.delta)
            case "AdaDelta":
                return _adadelta(gradient, history[0], history[1], local_rate, self.momentum, self.delta)
            case "Adam":
                correction = float(adam_correction(self.momentum, self.momentum2, iteration))
                corrected = float32(local_rate * correction)
                return _adam(gradient, history[0], history[1], corrected, self.momentum, self.momentum2, self.delta)


def float32(value: float) -> float:
    """The float32 nearest to a number."""
    with np.errstate(all="ignore"):
        return float(np.float32(value))


def clip_factor(gradients: Sequence[Tensor], most: float) -> tuple[float, float]:
    """(norm, factor): the L2 norm of all gradients together, and by what they are to be multiplied; 1 for nothing.

    `most` is `clip_gradients`; a negative one clips nothing. The sum is that over `iter_size` passes, as Caffe clips
    before it divides.
    """
    if most < 0:
        return 0.0, 1.0
    squares = float32(0)
    for gradient in gradients:
        flat = gradient.reshape(-1)
        squares = float32(squares + float(torch.dot(flat, flat)))
    norm = float32(math.sqrt(squares))
    return (norm, float32(float32(most) / norm)) if norm > most else (norm, 1.0)


def regularize(gradient: Tensor, weight: Tensor, decay: float, kind: Regularization) -> None:
    """Add the weight decay to a gradient, in place: the weight's share (L2), or that of its sign (L1).

    `decay` is `weight_decay` times the weight's `decay_mult`, rounded to float32.
    """
    if not decay:
        return
    gradient.add_(weight if kind == "L2" else torch.sign(weight), alpha=decay)


def _sgd(gradient: Tensor, history: Tensor, rate: float, momentum: float) -> Tensor:
    history.mul_(momentum).add_(gradient, alpha=rate)
    return history


def _nesterov(gradient: Tensor, history: Tensor, rate: float, momentum: float) -> Tensor:
    before = history.clone()
    history.mul_(momentum).add_(gradient, alpha=rate)
    return before.mul_(-momentum).add_(history, alpha=float32(1 + momentum))


def _adagrad(gradient: Tensor, history: Tensor, rate: float, delta: float) -> Tensor:
    history.addcmul_(gradient, gradient)
    return gradient.div_(history.sqrt().add_(delta)).mul_(rate)


def _rmsprop(gradient: Tensor, history: Tensor, rate: float, decay: float, delta: float) -> Tensor:
    history.mul_(decay).add_(gradient * gradient, alpha=float32(1 - decay))
    return gradient.div_(history.sqrt().add_(delta)).mul_(rate)


def _adadelta(
    gradient: Tensor, gradients: Tensor, updates: Tensor, rate: float, momentum: float, delta: float
) -> Tensor:
    kept = float32(1 - momentum)
    gradients.mul_(momentum).add_(gradient * gradient, alpha=kept)
    step = gradient.mul_(((updates + delta) / (gradients + delta)).sqrt_())
    updates.mul_(momentum).add_(step * step, alpha=kept)
    return step.mul_(rate)


def _adam(
    gradient: Tensor, first: Tensor, second: Tensor, rate: float, beta1: float, beta2: float, delta: float
) -> Tensor:
    first.mul_(beta1).add_(gradient, alpha=float32(1 - beta1))
    second.mul_(beta2).add_(gradient * gradient, alpha=float32(1 - beta2))
    return (first / second.sqrt().add_(delta)).mul_(rate)
