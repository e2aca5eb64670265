"""Flatten, Reshape, Permute, Tile, Crop, and what moves blocks and channels of images."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.blocks import blocks_of, upsampling_of
from amctc.dialects.caffe.movement import crop_starts, permutation
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.text.plain import Plain

_IMAGE_RANK = 4


def _flatten(c: Crossing, node: Node) -> None:
    param = params(node, "flatten_param")
    c.map(node, "FlattenV2", c.inputs(node), {"axis": int(param.axis), "end_axis": int(param.end_axis)})


def _reshape(c: Crossing, node: Node) -> None:
    param = params(node, "reshape_param")
    dims = np.array(tuple(param.shape.dim), np.int64)
    c.map(node, "Reshape", [*c.inputs(node), dims], {"axis": int(param.axis), "num_axes": int(param.num_axes)})


def _permute(c: Crossing, node: Node) -> None:
    """The order of all axes: those that Caffe's `order` leaves out follow."""
    order = permutation(node, len(need_shape(node.inputs[0])))
    c.map(node, "Permute", c.inputs(node), {"order": order})


def _tile(c: Crossing, node: Node) -> None:
    param = params(node, "tile_param")
    c.map(node, "TileWithAxis", c.inputs(node), {"axis": int(param.axis), "tiles": int(param.tiles)})


def _crop(c: Crossing, node: Node) -> None:
    """An offset for each axis from `axis` on, where Caffe may have one for all or none."""
    shape, wanted = (need_shape(value) for value in node.inputs)
    axis = int(params(node, "crop_param").axis) % len(shape)
    c.map(node, "Crop", c.inputs(node), {"axis": axis, "offsets": crop_starts(node, shape, wanted)[axis:]})


def _shuffle_channel(c: Crossing, node: Node) -> None:
    c.map(node, "ShuffleChannel", c.inputs(node), {"group": int(params(node, "shuffle_channel_param").group)})


def _pass_through(c: Crossing, node: Node) -> None:
    blocks = blocks_of(node)
    if blocks.high != blocks.wide:
        raise Unsayable(f"moves blocks of {blocks.high}x{blocks.wide}, and GE's PassThrough has one `stride` for both")
    attributes: dict[str, Plain] = {"stride": blocks.high, "reverse": not blocks.into_channels}
    c.map(node, "PassThrough", c.inputs(node), attributes)


def _upsample(c: Crossing, node: Node) -> None:
    rank = len(need_shape(node.inputs[0]))
    if rank != _IMAGE_RANK:
        raise Unsayable(f"repeats data of {rank} axes, and GE's Upsample takes images")
    found = upsampling_of(node, rank)
    attributes: dict[str, Plain] = {"scale": found.factor, "stride_h": found.high, "stride_w": found.wide}
    c.map(node, "Upsample", c.inputs(node), attributes)


def _spp(c: Crossing, node: Node) -> None:
    param = params(node, "spp_param")
    attributes: dict[str, Plain] = {"pyramid_height": int(param.pyramid_height), "pool_method": int(param.pool)}
    c.map(node, "SPP", c.inputs(node), attributes)


MOVEMENT: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Flatten": _flatten,
        "caffe.Reshape": _reshape,
        "caffe.Permute": _permute,
        "caffe.Tile": _tile,
        "caffe.Crop": _crop,
        "caffe.ShuffleChannel": _shuffle_channel,
        "caffe.Reorg": _pass_through,
        "caffe.PassThrough": _pass_through,
        "caffe.Upsample": _upsample,
        "caffe.SPP": _spp,
    }
)
