"""Learning which way the weights of one layer are rounded. The formulas are those of `amctc.quant.adaround`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amctc.quant.adaround import SHIFT, STRETCH, AdaRoundSettings, first_alpha, hard_rounding, steps_below
from amctc.quant.arq import quantize_with
from amctc.quant.grid import grid_limits
from amctc.rounding.activations import Function
from amctc.rounding.product import Product

_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8
"""Of Adam."""

_MOST_RATE = 0.3

_LEAST = 1e-6
"""Of a magnitude that is raised to a power, so that a power below 1 has a derivative."""


@dataclass(frozen=True)
class Learning:
    """How it is learned, whatever the layer: with so many samples in each iteration, drawn with `seed`.

    `reach` is how far steps of Adam's rate, which is the same in all iterations, lead together.
    """

    reach: float
    samples: int
    seed: int

    def rate(self, iterations: int) -> float:
        return min(_MOST_RATE, self.reach / max(1, iterations))


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A layer whose weights are to be rounded, with the activation behind it.

    `parts` are its float weights as `Product` takes them, `scale` is float32 [Cout] or [1], `bias` [Cout].
    """

    name: str
    product: Product
    parts: NDArray[np.float32]
    scale: NDArray[np.float32]
    bits: int
    bias: NDArray[np.float32] | None
    activation: Function | None

    @property
    def scales(self) -> NDArray[np.float32]:
        """The scale of each weight, as it broadcasts."""
        groups, outputs = self.parts.shape[:2]
        return self.scale.reshape((groups, outputs, 1, 1) if self.scale.size > 1 else (1, 1, 1, 1))

    def output(self, x: Tensor, integers: NDArray[np.int8]) -> Tensor:
        """What the layer gives with integer weights, without the activation."""
        weights = torch.from_numpy(integers.astype(np.float32) * self.scales)
        with torch.inference_mode():
            return self.product(x, weights, self._bias).clone()

    def learn(
        self,
        x: Tensor,
        y: Tensor,
        settings: AdaRoundSettings,
        how: Learning,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Rounded:
        """Integer weights with which the layer gives for `x` what is nearest to `y`, its output without activation.

        Both are as `Product` has them, with the same number of samples. `progress` is told how many iterations are
        done. The result depends on nothing but the arguments, and on how torch adds up: the same machine with the same
        number of threads gives the same. Roundings that do worse than the nearest ones on all the samples are not
        taken.
        """
        low, high = grid_limits(self.bits)
        whole, rest = steps_below(self.parts, self.scales)
        alpha = torch.from_numpy(first_alpha(rest)).requires_grad_()
        adam = Adam(alpha, how.rate(settings.num_iteration))
        below, scales = torch.from_numpy(whole), torch.from_numpy(np.array(self.scales))
        draw = np.random.default_rng(how.seed)
        for iteration in range(settings.num_iteration):
            chosen = torch.from_numpy(draw.permutation(len(x))[: how.samples])
            h = soft_rounding(alpha)
            made = self.product(x[chosen], (below + h).clamp(low, high) * scales, self._bias)
            loss = self._distance(made, y[chosen])
            beta = settings.beta(iteration)
            if beta is not None:
                loss = loss + settings.reg_param * indecision(h, beta)
            (gradient,) = torch.autograd.grad(loss, alpha)
            adam.step(gradient)
            progress(iteration + 1)
        learned = hard_rounding(whole, alpha.detach().numpy(), self.bits)
        return self._better(x, y, learned, how.samples)

    def _better(self, x: Tensor, y: Tensor, learned: NDArray[np.int8], samples: int) -> Rounded:
        rows = self.parts.reshape(self.parts.shape[0] * self.parts.shape[1], -1)
        nearest = quantize_with(rows, self.scale, bits=self.bits, layer_name=self.name).reshape(learned.shape)
        errors = [self._error(x, y, values, samples) for values in (nearest, learned)]
        values = learned if errors[1] < errors[0] else nearest
        return Rounded(values, errors[0], min(errors))

    def _error(self, x: Tensor, y: Tensor, integers: NDArray[np.int8], samples: int) -> float:
        """The mean of the distances over all samples, a few at a time."""
        total = 0.0
        for begin in range(0, len(x), samples):
            some = slice(begin, begin + samples)
            total += float(self._distance(self.output(x[some], integers), y[some])) * len(x[some])
        return total / len(x)

    def _distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        made, wanted = self.product.channels_first(made), self.product.channels_first(wanted)
        if self.activation is not None:
            made, wanted = self.activation(made), self.activation(wanted)
        return (made - wanted).square().sum(1).mean()

    @property
    def _bias(self) -> Tensor | None:
        return None if self.bias is None else torch.from_numpy(self.bias)


@dataclass(frozen=True, eq=False)
class Rounded:
    """Integer weights of the shape of `FloatLayer.parts`, and the mean squared distance of the layer's outputs.

    That is summed over channels, with the nearest roundings and with these.
    """

    values: NDArray[np.int8]
    nearest_error: float
    error: float


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) with its usual constants.

    To import torch's own takes longer than to learn a small network.
    """

    def __init__(self, parameter: Tensor, rate: float) -> None:
        self._parameter = parameter
        self._rate = rate
        self._mean = torch.zeros_like(parameter)
        self._square = torch.zeros_like(parameter)
        self._steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Go a step against the gradient."""
        self._steps += 1
        self._mean.mul_(_DECAY).add_(gradient, alpha=1 - _DECAY)
        self._square.mul_(_SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - _SQUARE_DECAY)
        spread = (self._square / (1 - _SQUARE_DECAY**self._steps)).sqrt_().add_(_EPSILON)
        self._parameter.addcdiv_(self._mean, spread, value=-self._rate / (1 - _DECAY**self._steps))


def soft_rounding(alpha: Tensor) -> Tensor:
    """h(alpha), as `amctc.quant.adaround` has it."""
    return (torch.sigmoid(alpha) * STRETCH + SHIFT).clamp(0, 1)


def indecision(h: Tensor, beta: float) -> Tensor:
    """The sum of 1 - |2h - 1|^beta, as `amctc.quant.adaround` has it."""
    return (1 - (2 * h - 1).abs().clamp(min=_LEAST).pow(beta)).sum()
