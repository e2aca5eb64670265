"""Eltwise, Softmax, LRN, MVN and Reduction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.caffe.combine import MAX, PROD
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.reduction import ASUM, MEAN, SUMSQ
from amctc.ir.node import Shape
from amctc.training.layers.gradients import with_gradients
from amctc.training.layers.layer import Layer, Rule, Run, Tensors

_WITHIN_CHANNEL = 1


def eltwise(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Product, weighted sum or maximum; in place an input that is the top counts as in Caffe, which clears it first."""
    node, param = layer.node, params(layer.node, "eltwise_param")
    written = tuple(value.blob == node.output.blob for value in node.inputs)
    if param.operation == MAX:
        return lambda inputs: (_maximum(inputs, written),)
    if param.operation == PROD:
        product = _product if param.stable_prod_grad else _unstable_product
        return lambda inputs: (product(inputs, written),)
    factors = tuple(float(factor) for factor in param.coeff) or (1.0,) * len(shapes)
    return lambda inputs: (_weighted_sum(inputs, written, factors),)


def _maximum(inputs: Tensors, written: tuple[bool, ...]) -> Tensor:
    """The gradient goes to one input: of the first two, where they are equal, to the second, else to the earlier."""
    others = [x for x, top in zip(inputs, written, strict=True) if not top]
    if len(others) < 2:
        return others[0] if others else torch.full_like(inputs[0], float(np.finfo(np.float32).min))
    first, second, *rest = others
    largest = torch.where(first > second, first, second)
    for x in rest:
        largest = torch.where(x > largest, x, largest)
    return largest


def _product(inputs: Tensors, written: tuple[bool, ...]) -> Tensor:
    product = inputs[0] * inputs[1]
    for x, top in zip(inputs[2:], written[2:], strict=True):
        product = product * (product if top else x)
    return product


def _unstable_product(inputs: Tensors, written: tuple[bool, ...]) -> Tensor:
    """The product whose gradient for an input is the product over this input: NaN where that is 0, as in Caffe."""
    held = tuple(x.detach() for x in inputs)
    product = _product(held, written)
    return with_gradients(product, inputs, lambda gradient: tuple(gradient * (product / x) for x in held))


def _weighted_sum(inputs: Tensors, written: tuple[bool, ...], factors: tuple[float, ...]) -> Tensor:
    total: Tensor | None = None
    for x, top, factor in zip(inputs, written, factors, strict=True):
        operand = total if top else x
        if operand is None:
            continue
        term = operand if factor == 1 else operand * factor
        total = term if total is None else total + term
    return torch.zeros_like(inputs[0]) if total is None else total


def softmax(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """exp(x) over the sum of exp(x) along an axis."""
    axis = axis_of(params(layer.node, "softmax_param").axis, len(shapes[0]))
    return lambda inputs: (functional.softmax(inputs[0], axis),)


def lrn(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x over a power of the mean square of its neighbours: in other channels, or around it in its own."""
    param = params(layer.node, "lrn_param")
    size, alpha, beta, k = int(param.local_size), float(param.alpha), float(param.beta), float(param.k)
    if param.norm_region == _WITHIN_CHANNEL:
        return lambda inputs: (inputs[0] * (1 + alpha * _mean_around(inputs[0] ** 2, size)) ** -beta,)
    return lambda inputs: (inputs[0] * (k + alpha * _mean_across(inputs[0] ** 2, size)) ** -beta,)


def _mean_around(x: Tensor, size: int) -> Tensor:
    """The mean of a square around each place; beyond the image is 0."""
    reach = _reach(size, max(x.shape[2:]))
    window = 2 * reach + 1
    mean = functional.avg_pool2d(x, window, 1, reach)
    return mean if window == size else mean * (window / size) ** 2


def _mean_across(x: Tensor, size: int) -> Tensor:
    """The mean of `size` channels around each; beyond the first and last is 0."""
    reach = _reach(size, x.shape[1])
    window = 2 * reach + 1
    apart = functional.pad(x.flatten(2).unsqueeze(1), (0, 0, reach, reach))
    mean = functional.avg_pool2d(apart, (window, 1), 1).view(x.shape)
    return mean if window == size else mean * (window / size)


def _reach(size: int, room: int) -> int:
    """How many neighbours on one side can be anything but 0."""
    return min((size - 1) // 2, max(room - 1, 0))


def mvn(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x minus its mean, and over its deviation + eps, by channel or by item."""
    param = params(layer.node, "mvn_param")
    shape = (*shapes[0], *(1,) * (4 - len(shapes[0])))
    rows = shape[0] if param.across_channels else shape[0] * shape[1]
    eps = float(param.eps)
    by_variance = bool(param.normalize_variance)

    def run(inputs: Tensors) -> Tensors:
        flat = inputs[0].reshape(rows, -1)
        found = _normalized(flat, eps) if by_variance else flat - flat.mean(1, keepdim=True)
        return (found.reshape(shape),)

    return run


def _normalized(x: Tensor, eps: float) -> Tensor:
    """Rows over their deviation + eps. Caffe's gradient takes eps for 0, but not in the divisor itself."""
    centred = x.detach() - x.detach().mean(1, keepdim=True)
    deviation = centred.square().mean(1, keepdim=True).sqrt() + eps
    y = centred / deviation

    def back(gradient: Tensor) -> Tensors:
        along = (gradient * y).mean(1, keepdim=True)
        return ((gradient - gradient.mean(1, keepdim=True) - y * along) / deviation,)

    return with_gradients(y, (x,), back)


def reduction(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """`coeff` times the sum, sum of magnitudes, sum of squares or mean over the axes from `axis` on."""
    param = params(layer.node, "reduction_param")
    axis, coeff = axis_of(param.axis, len(shapes[0])), float(param.coeff)
    kept, count = shapes[0][:axis], math.prod(shapes[0][axis:])
    function = _REDUCTIONS.get(int(param.operation), _sum)
    return lambda inputs: (function(inputs[0].reshape(*kept, count)) * coeff,)


def _sum(x: Tensor) -> Tensor:
    return x.sum(-1)


_REDUCTIONS: Mapping[int, Callable[[Tensor], Tensor]] = MappingProxyType(
    {ASUM: lambda x: x.abs().sum(-1), SUMSQ: lambda x: x.square().sum(-1), MEAN: lambda x: x.mean(-1)}
)

COMBINE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Eltwise": eltwise,
        "caffe.Softmax": softmax,
        "caffe.LRN": lrn,
        "caffe.MVN": mvn,
        "caffe.Reduction": reduction,
    }
)
