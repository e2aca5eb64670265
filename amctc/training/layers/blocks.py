"""What moves whole blocks, turns axes round or repeats elements, and products of blobs: layers of other Caffes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch.nn import functional

from amctc.dialects.caffe.blocks import blocks_of, upsampling_of
from amctc.dialects.caffe.matrix import transposed_factors
from amctc.dialects.caffe.movement import channel_groups, reversed_axes
from amctc.dialects.caffe.params import params
from amctc.dialects.table import op_def
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors


def shuffle(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """[N, group, C / group, ...] with the two turned round."""
    group, shape = channel_groups(layer.node, shapes[0]), shapes[0]
    split = (shape[0], group, shape[1] // group, *shape[2:])
    return lambda inputs: (inputs[0].reshape(split).transpose(1, 2).reshape(shape),)


def blocks(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The blocks of an image as channels, or channels as blocks."""
    how = blocks_of(layer.node)
    (shape,) = op_def(layer.node).infer(layer.node, shapes)
    count, channels, height, width = shapes[0]
    high, wide = how.high, how.wide
    if how.into_channels:
        split, order = (count, channels, height // high, high, width // wide, wide), (0, 3, 5, 1, 2, 4)
    elif how.block_first:
        split, order = (count, high, wide, channels // (high * wide), height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (count, channels // (high * wide), high, wide, height, width), (0, 1, 4, 2, 5, 3)
    return lambda inputs: (inputs[0].reshape(split).permute(order).reshape(shape),)


def reverse(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The elements along axes in reverse order."""
    axes = reversed_axes(layer.node, len(shapes[0]))
    return lambda inputs: (inputs[0].flip(axes),)


def upsample(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Each element several times, times a factor."""
    how = upsampling_of(layer.node, len(shapes[0]))

    def run(inputs: Tensors) -> Tensors:
        wide = inputs[0].repeat_interleave(how.wide, -1)
        return ((wide if len(shapes[0]) == 3 else wide.repeat_interleave(how.high, -2)) * how.factor,)

    return run


def matrix_product(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The product of the matrices in the last two axes."""
    flags = transposed_factors(layer.node)

    def run(inputs: Tensors) -> Tensors:
        a, b = (x.transpose(-1, -2) if flag else x for x, flag in zip(inputs, flags, strict=True))
        return (torch.matmul(a, b),)

    return run


def smooth_l1_loss(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Squared near 0, linear elsewhere; a third input is multiplied with the difference, a fourth with its loss."""
    square = float(params(layer.node, "smooth_l1_loss_param").sigma) ** 2
    count = max(shapes[0][0], 1)

    def run(inputs: Tensors) -> Tensors:
        apart = inputs[0] - inputs[1]
        if len(inputs) > 2:
            apart = apart * inputs[2].detach()
        losses = functional.smooth_l1_loss(apart, torch.zeros_like(apart), reduction="none", beta=1 / square)
        if len(inputs) > 3:
            losses = losses * inputs[3].detach()
        return (losses.sum() / count,)

    return run


BLOCK_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.ShuffleChannel": shuffle,
        "caffe.Reorg": blocks,
        "caffe.PassThrough": blocks,
        "caffe.PixelShuffle": blocks,
        "caffe.Reverse": reverse,
        "caffe.Upsample": upsample,
        "caffe.MatMul": matrix_product,
        "caffe.SmoothL1Loss": smooth_l1_loss,
    }
)
