"""Scale, Bias and BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.affine import broadcast_axis
from amctc.dialects.caffe.batch_norm import takes_batch_statistics
from amctc.dialects.caffe.params import params
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors


def scale(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x times a factor, its own or the second input, plus perhaps a bias."""
    spread = _spread(layer, "scale_param", shapes)
    own = layer.weight_reader("scale") if len(shapes) == 1 else None
    bias = layer.weight_reader("bias") if params(layer.node, "scale_param").bias_term else None

    def run(inputs: Tensors) -> Tensors:
        factor = (inputs[1] if own is None else own()).reshape(spread)
        if bias is None:
            return (inputs[0] * factor,)
        return (torch.addcmul(bias().reshape(spread), inputs[0], factor),)

    return run


def bias(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x plus a summand, its own or the second input."""
    spread = _spread(layer, "bias_param", shapes)
    own = layer.weight_reader("bias") if len(shapes) == 1 else None

    def run(inputs: Tensors) -> Tensors:
        return (inputs[0] + (inputs[1] if own is None else own()).reshape(spread),)

    return run


def _spread(layer: Layer, field: str, shapes: tuple[Shape, ...]) -> Shape:
    """The shape under which a factor is broadcast over the first input."""
    first, *second = shapes
    axis, factor = broadcast_axis(layer.node, field, first, second[0] if second else None)
    return (*factor, *(1,) * (len(first) - axis - len(factor)))


def batch_norm(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x minus the mean, over the deviation: of the batch, whose statistics are then added to the stored ones, or these.

    The stored ones move in every pass that uses those of the batch, in phase TEST too, as in Caffe.
    """
    param = params(layer.node, "batch_norm_param")
    stored = tuple(layer.stored(role) for role in ("mean", "variance", "factor"))
    eps, kept = float(param.eps), float(param.moving_average_fraction)
    if takes_batch_statistics(layer.node, layer.phase):
        return lambda inputs: (_by_batch(inputs[0], stored, eps, kept),)
    spread = (-1, *(1,) * (len(shapes[0]) - 2))

    def run(inputs: Tensors) -> Tensors:
        mean, variance, factor = stored
        share = torch.where(factor == 0, 0.0, 1.0 / factor)
        deviation = torch.sqrt(variance * share + eps)
        return ((inputs[0] - (mean * share).reshape(spread)) / deviation.reshape(spread),)

    return run


def _by_batch(x: Tensor, stored: Tensors, eps: float, kept: float) -> Tensor:
    """Normalized by the batch's own mean and biased variance; of the stored sums `kept` is left, and these are added.

    The variance that is added is that of m values times m / (m - 1). A batch without values changes nothing, as in
    `amctc.quant.batch_statistics.updated_statistics`, where the arithmetic is described.
    """
    if not x.numel():
        return x
    mean, variance = torch.zeros_like(stored[0]), torch.zeros_like(stored[1])
    if x.numel() == x.shape[1]:
        # One value a channel, which torch refuses: its own mean, without a variance.
        mean, found = x.detach().reshape(-1), x * 0
    else:
        # With a momentum of 1 torch's running statistics become those of the batch.
        found = functional.batch_norm(x, mean, variance, training=True, momentum=1.0, eps=eps)
    with torch.no_grad():
        for sums, added in zip(stored, (mean, variance, torch.ones_like(stored[2])), strict=True):
            sums.mul_(kept).add_(added)
    return found


AFFINE_RULES: Mapping[str, Rule] = MappingProxyType(
    {"caffe.Scale": scale, "caffe.Bias": bias, "caffe.BatchNorm": batch_norm}
)
