"""The learning rate of each iteration, by Caffe's seven policies, rounded where Caffe rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

LrPolicy: TypeAlias = Literal["fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"]

LR_POLICIES: Final[tuple[LrPolicy, ...]] = get_args(LrPolicy)
NEEDS_GAMMA: Final[frozenset[LrPolicy]] = frozenset({"step", "exp", "inv", "multistep", "sigmoid"})
NEEDS_STEPSIZE: Final[frozenset[LrPolicy]] = frozenset({"step", "sigmoid"})


@dataclass(frozen=True)
class LearningRate:
    """What a solver file says of the rate. `stepvalues` are iterations, `max_iter` the last one of `poly`."""

    policy: LrPolicy
    base_lr: float
    gamma: float = 0.0
    power: float = 0.0
    stepsize: int = 0
    stepvalues: tuple[int, ...] = ()
    max_iter: int = 0

    def step_at(self, iteration: int, step: int) -> int:
        """How many steps have been made, before the rate of an iteration is taken; `step` is what it was before.

        `multistep` makes one step at most in an iteration, as in Caffe; what it has made stands in the snapshot.
        """
        if self.policy == "step":
            return iteration // self.stepsize
        if self.policy == "multistep" and step < len(self.stepvalues) and iteration >= self.stepvalues[step]:
            return step + 1
        return step

    def rate(self, iteration: int, step: int) -> np.float32:
        """The rate of an iteration, float32; `step` is what `step_at` gives for it.

        Caffe computes powers with whole exponents in double precision and rounds their product with the base rate;
        everything else is rounded to float32 at each operation. A power that overflows gives infinity.
        """
        base = np.float32(self.base_lr)
        with np.errstate(all="ignore"):
            match self.policy:
                case "fixed":
                    return base
                case "step" | "multistep":
                    return self._times_power(base, step)
                case "exp":
                    return self._times_power(base, iteration)
                case "inv":
                    grown = np.float32(1) + np.float32(self.gamma) * np.float32(iteration)
                    return np.float32(base * _power32(grown, -np.float32(self.power)))
                case "poly":
                    # Without `max_iter` Caffe divides by 0, and never asks for the rate.
                    left = np.float32(1) - np.float32(iteration) / np.float32(self.max_iter)
                    return np.float32(base * _power32(left, np.float32(self.power)))
                case "sigmoid":
                    beyond = np.float32(iteration) - np.float32(self.stepsize)
                    falling = np.float32(np.exp(np.float64(-np.float32(self.gamma) * beyond)))
                    return np.float32(base * np.float32(np.float32(1) / (np.float32(1) + falling)))

    def _times_power(self, base: np.float32, exponent: int) -> np.float32:
        return np.float32(np.float64(base) * np.power(np.float64(np.float32(self.gamma)), np.float64(exponent)))


def adam_correction(momentum: float, momentum2: float, iteration: int) -> np.float32:
    """By what Adam's rate is multiplied in an iteration, counted from 0: sqrt(1 - β₂ᵗ) / (1 - β₁ᵗ), t from 1.

    The betas are float32, the rest is double (Kingma & Ba, 2014, section 2, end).
    """
    beta1, beta2 = float(np.float32(momentum)), float(np.float32(momentum2))
    times = iteration + 1
    below = 1 - beta1**times
    above = math.sqrt(max(0.0, 1 - beta2**times))
    return np.float32(above / below) if below else np.float32(np.inf)


def _power32(base: np.float32, exponent: np.float32) -> np.float32:
    """A power of float32 numbers, rounded once."""
    return np.float32(np.power(np.float64(base), np.float64(exponent)))
