"""Ops that move, select or repeat elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.blocks import blocks_of, upsampling_of
from amctc.dialects.caffe.data_layers import dummy_values
from amctc.dialects.caffe.movement import (
    CONSTANT,
    REPLICATE,
    channel_groups,
    crop_starts,
    padding_of,
    permutation,
    reversed_axes,
    slice_sizes,
    tile_axis,
)
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule, weight_of

_BEFORE_THE_FIRST = int(np.iinfo(np.int64).min)


def lower_slice(low: Lowering, node: Node) -> None:
    """Split; where ONNX Runtime has none (integers, empty parts), a Slice for each top."""
    source = low.name(node.inputs[0])
    axis, sizes = slice_sizes(node, low.shape(node.inputs[0]))
    if low.dtype(node.inputs[0]) == "float32" and 0 not in sizes:
        parts = low.constant(np.array(sizes, np.int64), f"{node.name}.sizes")
        low.emit_many("Split", [source, parts], [low.name(value) for value in node.outputs], axis=axis)
        return
    start = 0
    for value, size in zip(node.outputs, sizes, strict=True):
        _part(low, node, source, [start], [start + size], [axis], low.name(value))
        start += size


def lower_crop(low: Lowering, node: Node) -> None:
    """Slice; the second input gives its shape only."""
    starts = crop_starts(node, low.shape(node.inputs[0]), low.shape(node.inputs[1]))
    ends = [start + size for start, size in zip(starts, low.shape(node.output), strict=True)]
    _part(low, node, low.name(node.inputs[0]), starts, ends, range(len(starts)), low.name(node.output))


def lower_permute(low: Lowering, node: Node) -> None:
    """Transpose."""
    order = permutation(node, len(low.shape(node.inputs[0])))
    low.emit("Transpose", low.inputs(node), low.name(node.output), perm=order)


def lower_reverse(low: Lowering, node: Node) -> None:
    """Slice backwards."""
    axes = reversed_axes(node, len(low.shape(node.inputs[0])))
    count = len(axes)
    _part(
        low,
        node,
        low.name(node.inputs[0]),
        [-1] * count,
        [_BEFORE_THE_FIRST] * count,
        axes,
        low.name(node.output),
        [-1] * count,
    )


def lower_shuffle(low: Lowering, node: Node) -> None:
    """[N, group, C / group, ...] with the two turned round."""
    shape = low.shape(node.inputs[0])
    group = channel_groups(node, shape)
    rest = tuple(range(3, len(shape) + 1))
    _regroup(low, node, (shape[0], group, shape[1] // group, *shape[2:]), (0, 2, 1, *rest))


def lower_blocks(low: Lowering, node: Node) -> None:
    """The blocks of Reorg, PassThrough and PixelShuffle as axes of their own, moved."""
    blocks = blocks_of(node)
    count, channels, height, width = low.shape(node.inputs[0])
    high, wide = blocks.high, blocks.wide
    if blocks.into_channels:
        split = (count, channels, height // high, high, width // wide, wide)
        _regroup(low, node, split, (0, 3, 5, 1, 2, 4))
        return
    kept = channels // (high * wide)
    if blocks.block_first:
        _regroup(low, node, (count, high, wide, kept, height, width), (0, 3, 4, 1, 5, 2))
    else:
        _regroup(low, node, (count, kept, high, wide, height, width), (0, 1, 4, 2, 5, 3))


def lower_unsqueeze(low: Lowering, node: Node) -> None:
    """Reshape."""
    low.reshape(low.name(node.inputs[0]), low.shape(node.output), low.name(node.output))


def lower_tile(low: Lowering, node: Node) -> None:
    """The axis behind a new one of `tiles` copies, then one again."""
    shape = low.shape(node.inputs[0])
    axis, tiles = tile_axis(node, len(shape))
    apart = low.reshape(low.name(node.inputs[0]), (*shape[:axis], 1, *shape[axis:]))
    copies = _expand(low, node, apart, (*shape[:axis], tiles, *shape[axis:]))
    low.reshape(copies, low.shape(node.output), low.name(node.output))


def lower_upsample(low: Lowering, node: Node) -> None:
    """Each element along new axes of copies; Mul where there is a factor."""
    shape = low.shape(node.inputs[0])
    how = upsampling_of(node, len(shape))
    spatial = ((shape[2], how.high), (shape[3], how.wide)) if len(shape) == 4 else ((shape[2], how.wide),)
    ones = tuple(side for size, _ in spatial for side in (size, 1))
    many = tuple(side for pair in spatial for side in pair)
    apart = low.reshape(low.name(node.inputs[0]), (*shape[:2], *ones))
    copies = _expand(low, node, apart, (*shape[:2], *many))
    if how.factor == 1:
        low.reshape(copies, low.shape(node.output), low.name(node.output))
        return
    repeated = low.reshape(copies, low.shape(node.output))
    low.emit("Mul", [repeated, low.scalar(how.factor, f"{node.name}.scale")], low.name(node.output))


def lower_pad(low: Lowering, node: Node) -> None:
    """Slice where sides are cut off, then Pad."""
    shape, current = low.shape(node.inputs[0]), low.name(node.inputs[0])
    pad = padding_of(node, shape)
    if any(pad.cut):
        starts, ends = (pad.cut[0], pad.cut[2]), (shape[2] - pad.cut[1], shape[3] - pad.cut[3])
        current = _part(low, node, current, starts, ends, (2, 3))
    up, down, left, right = pad.added
    pads = low.constant(np.array((0, 0, up, left, 0, 0, down, right), np.int64), f"{node.name}.pads")
    inputs = [current, pads]
    if pad.kind == CONSTANT:
        inputs.append(low.scalar(pad.value, f"{node.name}.value"))
    mode = {CONSTANT: "constant", REPLICATE: "edge"}.get(pad.kind, "reflect")
    low.emit("Pad", inputs, low.name(node.output), mode=mode)


def lower_parameter(low: Lowering, node: Node) -> None:
    """A constant."""
    weight = weight_of(node, "weight").astype(np.float32, copy=False)
    low.emit("Identity", [low.constant(weight, f"{node.name}.weight")], low.name(node.output))


def lower_dummy_data(low: Lowering, node: Node) -> None:
    """One number, expanded."""
    for value, constant in zip(node.outputs, dummy_values(node), strict=True):
        number = low.scalar(constant, f"{node.name}.value")
        _expand(low, node, number, low.shape(value), low.name(value))


def lower_nothing(low: Lowering, node: Node) -> None:
    """Nothing: an input of the graph is fed, and a layer without tops computes nothing."""


def _part(
    low: Lowering,
    node: Node,
    source: str,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    output: str | None = None,
    steps: Sequence[int] | None = None,
) -> str:
    numbers = {"starts": starts, "ends": ends, "axes": axes, "steps": steps or [1] * len(starts)}
    operands = [low.constant(np.array(given, np.int64), f"{node.name}.{word}") for word, given in numbers.items()]
    return low.emit("Slice", [source, *operands], output)


def _regroup(low: Lowering, node: Node, split: tuple[int, ...], order: tuple[int, ...]) -> None:
    apart = low.reshape(low.name(node.inputs[0]), split)
    moved = low.emit("Transpose", [apart], perm=order)
    low.reshape(moved, low.shape(node.output), low.name(node.output))


def _expand(low: Lowering, node: Node, source: str, shape: tuple[int, ...], output: str | None = None) -> str:
    target = low.constant(np.array(shape, np.int64), f"{node.name}.shape")
    return low.emit("Expand", [source, target], output)


MOVEMENT_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Slice": lower_slice,
        "caffe.Crop": lower_crop,
        "caffe.Permute": lower_permute,
        "caffe.Reverse": lower_reverse,
        "caffe.ShuffleChannel": lower_shuffle,
        "caffe.Reorg": lower_blocks,
        "caffe.PassThrough": lower_blocks,
        "caffe.PixelShuffle": lower_blocks,
        "caffe.Unsqueeze": lower_unsqueeze,
        "caffe.Tile": lower_tile,
        "caffe.Upsample": lower_upsample,
        "caffe.Pad": lower_pad,
        "caffe.Parameter": lower_parameter,
        "caffe.DummyData": lower_dummy_data,
        "caffe.Data": lower_nothing,
        "caffe.AnnotatedData": lower_nothing,
        "caffe.ImageData": lower_nothing,
        "caffe.MemoryData": lower_nothing,
        "caffe.HDF5Data": lower_nothing,
        "caffe.WindowData": lower_nothing,
        "caffe.HDF5Output": lower_nothing,
        "caffe.Silence": lower_nothing,
    }
)
"""Movement, constants, and the layers that compute nothing."""
