"""AdaRound: which way each weight is rounded is learned, so that the layer gives what it gave in float.

With s the scale of a weight w, its integer is floor(w / s) + h, clipped to the grid. While it is learned, h is
the rectified sigmoid of a number alpha

    h(alpha) = clip(sigmoid(alpha) * 1.2 - 0.1, 0, 1)

which begins where floor(w / s) + h is w / s itself, and what is minimized is

    mean over samples and positions of |f(y) - f(y')|^2  +  reg_param * sum over weights of (1 - |2h - 1|^beta)

with y the output of the layer in the float network, y' that with these weights on the input that the quantized network
gives it, and f the activation behind it. The second term is left out in the first part of the iterations,
`warm_start`; from there on beta falls along half a cosine, and drives each h to 0 or to 1. At the end h of 0.5
and more is 1. Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization",
arXiv:2004.10568; the constants, and the settings' names and defaults, are AMCT's `ada_quantize`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.quant.grid import grid_limits

STRETCH, SHIFT = 1.2, -0.1
"""A sigmoid stretched and shifted by these reaches 0 and 1 themselves."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class AdaRoundSettings:
    """How the rounding of a layer is learned; the ranges are the policy's to check.

    `warm_start` is the part of the iterations in which nothing draws the roundings to 0 and 1. `beta_range` is
    where beta begins and ends. No iterations stand for rounding to the nearest.
    """

    num_iteration: int = 10000
    reg_param: float = 0.01
    beta_range: tuple[float, float] = (20.0, 2.0)
    warm_start: float = 0.2

    def __post_init__(self) -> None:
        start, end = self.beta_range
        if self.num_iteration < 0 or not self.reg_param >= 0 or not 0 <= self.warm_start <= 1:
            raise ValueError("num_iteration and reg_param are not negative, and warm_start is a part of 1")
        if not start >= end > 0:
            raise ValueError("beta_range falls, and ends above 0")

    def beta(self, iteration: int) -> float | None:
        """beta in an iteration, counted from 0; None in the warm start."""
        begin = self.warm_start * self.num_iteration
        if iteration < begin:
            return None
        start, end = self.beta_range
        passed = (iteration - begin) / (self.num_iteration - begin)
        return end + (start - end) * (1 + math.cos(math.pi * passed)) / 2


def first_alpha(fraction: FloatArray) -> FloatArray:
    """The alpha, of any shape, whose h is a given part of a step, 0 to 1."""
    return np.asarray(-np.log(np.float32(STRETCH) / (fraction - np.float32(SHIFT)) - 1), np.float32)


def soft_rounding(alpha: FloatArray) -> FloatArray:
    """h(alpha), 0 to 1."""
    sigmoid = 1 / (1 + np.exp(-alpha))
    return np.clip(sigmoid * np.float32(STRETCH) + np.float32(SHIFT), 0, 1).astype(np.float32)


def indecision(h: FloatArray, beta: float) -> float:
    """The sum of 1 - |2h - 1|^beta: 0 where each h is 0 or 1."""
    return float(np.sum(1 - np.abs(2 * h.astype(np.float64) - 1) ** beta))


def steps_below(weights: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The whole steps of `scale` (which broadcasts) below each weight, and the part of a step, 0 to 1, that is left."""
    steps = weights / scale
    whole = np.floor(steps)
    return whole, steps - whole


def hard_rounding(whole: FloatArray, alpha: FloatArray, bits: int) -> NDArray[np.int8]:
    """The integers in the end: a step more than `whole` where h(alpha) is 0.5 or more, clipped to the grid."""
    low, high = grid_limits(bits)
    return np.clip(whole + (soft_rounding(alpha) >= 0.5), low, high).astype(np.int8)
