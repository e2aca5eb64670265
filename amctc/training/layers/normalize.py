"""Normalization of other Caffes: Normalize, GroupNorm, LayerNormalization."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.caffe.params import params
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors


def normalize(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x over the root of its sum of squares, over an item or over axis 1, times a scale."""
    param = params(layer.node, "norm_param")
    axes = tuple(range(1, len(shapes[0]))) if param.across_spatial else (1,)
    eps, scale = float(param.eps), layer.weight_reader("scale")
    spread = (-1, *(1,) * (len(shapes[0]) - 2))

    def run(inputs: Tensors) -> Tensors:
        norm = (inputs[0].square().sum(axes, keepdim=True) + eps).sqrt()
        return (inputs[0] / norm * scale().reshape(spread),)

    return run


def group_norm(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Each item's groups of channels, then scale and shift a channel."""
    param = params(layer.node, "group_norm_param")
    rows = shapes[0][0] * int(param.group_num)
    return _standardized(layer, shapes[0], rows, float(param.eps), (-1, *(1,) * (len(shapes[0]) - 2)))


def layer_norm(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The axes from `axis` on, then scale and shift an element."""
    param = params(layer.node, "layer_norm_param")
    axis = axis_of(param.axis, len(shapes[0]))
    spread = shapes[0][axis:] if param.affine else None
    return _standardized(layer, shapes[0], math.prod(shapes[0][:axis]), float(param.eps), spread)


def _standardized(layer: Layer, shape: Shape, rows: int, eps: float, spread: Shape | None) -> Run:
    """(x - mean) / sqrt(variance + eps) by row, then scale and shift of the shape `spread`, where it has them."""

    def standard(x: Tensor) -> Tensor:
        flat = x.reshape(rows, -1)
        centred = flat - flat.mean(1, keepdim=True)
        return (centred / (centred.square().mean(1, keepdim=True) + eps).sqrt()).reshape(shape)

    if spread is None:
        return lambda inputs: (standard(inputs[0]),)
    scale, shift = layer.weight_reader("scale"), layer.weight_reader("shift")
    return lambda inputs: (standard(inputs[0]) * scale().reshape(spread) + shift().reshape(spread),)


NORMALIZE_RULES: Mapping[str, Rule] = MappingProxyType(
    {"caffe.Normalize": normalize, "caffe.GroupNorm": group_norm, "caffe.LayerNormalization": layer_norm}
)
