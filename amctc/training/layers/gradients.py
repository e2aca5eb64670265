"""Gradients that are Caffe's rather than torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amctc.training.layers.layer import Tensors


class _Given(torch.autograd.Function):
    """A value and, apart from it, what leads its gradient back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, back: Callable[[Tensor], Tensors], *inputs: Tensor) -> Tensor:
        ctx.back = back
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.back(gradients[0])


def with_gradients(value: Tensor, inputs: Tensors, back: Callable[[Tensor], Tensors]) -> Tensor:
    """`value`, whose gradient g is `back(g)` for the inputs, one tensor of the shape of each, and nothing else's."""
    found: Tensor = _Given.apply(value.detach(), back, *inputs)  # type: ignore[no-untyped-call]  # torch gives it no types
    return found


def with_gradient_of(x: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient that `x`, of the same shape, has."""
    return with_gradients(value, (x,), lambda gradient: (gradient,))
