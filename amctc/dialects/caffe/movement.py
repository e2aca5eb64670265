"""Ops that cut, turn, repeat and pad: Slice, Crop, Permute, Reverse, ShuffleChannel, Unsqueeze, Tile, Pad."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amctc.dialects.caffe.become import become_permute, become_reshape
from amctc.dialects.caffe.blobs import axis_of, describe, need_own_top, need_rank, same_dtype
from amctc.dialects.caffe.blocks import BLOCK_OPS
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.selection import SELECTION_OPS
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Permuting, Quantizable, Reshaping
from amctc.ir import Node
from amctc.ir.node import Shape

CONSTANT, REPLICATE, REFLECT = 0, 1, 2

_ON = Quantizable(on_by_default=True)


def slice_sizes(node: Node, shape: Shape) -> tuple[int, tuple[int, ...]]:
    """The axis a Slice cuts along and the size of each top there."""
    param, tops = params(node, "slice_param"), len(node.outputs)
    if param.HasField("slice_dim") and param.HasField("axis"):
        raise OpError("`axis` and `slice_dim` are both given; keep `axis`")
    old = param.HasField("slice_dim")
    axis = axis_of(param.slice_dim, len(shape), "slice_dim") if old else axis_of(param.axis, len(shape))
    size = shape[axis]
    if not param.slice_point:
        if size % tops:
            raise OpError(f"cannot cut axis {axis}, {size} long, into {tops} equal parts; give `slice_point`")
        return axis, (size // tops,) * tops
    if len(param.slice_point) != tops - 1:
        raise OpError(f"{tops} tops need {tops - 1} `slice_point`, {len(param.slice_point)} given")
    if tops > size:
        raise OpError(f"axis {axis} is {size} long, too short for {tops} tops")
    edges = (0, *param.slice_point, size)
    sizes = tuple(end - start for start, end in pairwise(edges))
    if min(sizes[:-1]) < 1 or sizes[-1] < 0:
        raise OpError(f"each `slice_point` must be larger than the one before, and the last at most {size}")
    return axis, sizes


def _infer_slice(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    axis, sizes = slice_sizes(node, shape)
    if len(sizes) > 1:
        need_own_top(node)
    return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)


def crop_starts(node: Node, shape: Shape, wanted: Shape) -> tuple[int, ...]:
    """Where in each axis of the blob the part that a Crop keeps starts; `wanted` is the second bottom's shape."""
    param, rank = params(node, "crop_param"), len(shape)
    axis = axis_of(param.axis, rank)
    if len(wanted) < rank:
        raise OpError(f"the second bottom, {describe(wanted)}, lacks axes that {describe(shape)} has")
    given = tuple(param.offset)
    if len(given) > 1 and len(given) != rank - axis:
        raise OpError(
            f"{len(given)} `offset` for the {rank - axis} axes from axis {axis} on; give one, or one for each"
        )
    offsets = given if len(given) > 1 else (given or (0,)) * (rank - axis)
    for index, offset in enumerate(offsets, axis):
        size, most = wanted[index], shape[index]
        if offset + size > most:
            raise OpError(f"{size} elements from offset {offset} on do not fit axis {index}, which is {most} long")
    return (*(0,) * axis, *offsets)


def _infer_crop(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    shape, wanted = shapes
    crop_starts(node, shape, wanted)
    axis = axis_of(params(node, "crop_param").axis, len(shape))
    return ((*shape[:axis], *wanted[axis : len(shape)]),)


def permutation(node: Node, rank: int) -> tuple[int, ...]:
    """Which axis of the input each axis of the output is; axes that `order` leaves out follow in their order."""
    order = tuple(params(node, "permute_param").order)
    for axis in order:
        axis_of(axis, rank, "order")
    if len(set(order)) != len(order):
        raise OpError("an axis stands twice in `order`")
    return (*order, *(axis for axis in range(rank) if axis not in order))


def _infer_permute(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    return (tuple(shapes[0][axis] for axis in permutation(node, len(shapes[0]))),)


def reversed_axes(node: Node, rank: int) -> tuple[int, ...]:
    """The axes that a Reverse turns round."""
    found = tuple(axis_of(axis, rank) for axis in params(node, "reverse_param").axis or (0,))
    if len(set(found)) != len(found):
        raise OpError("an axis stands twice in `axis`")
    return found


def _permutes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    # An axis of one element may stand anywhere.
    longer = [axis for axis in permutation(node, len(shapes[0])) if shapes[0][axis] != 1]
    return longer == sorted(longer) and _infer_permute(node, shapes) == shapes


def _infer_reverse(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    reversed_axes(node, len(shapes[0]))
    return (shapes[0],)


def _reverses_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    return all(shapes[0][axis] == 1 for axis in reversed_axes(node, len(shapes[0])))


def channel_groups(node: Node, shape: Shape) -> int:
    """The number of groups a ShuffleChannel deals out."""
    if len(shape) < 2:
        raise OpError(f"takes a blob with channels, not {describe(shape)}")
    group: int = params(node, "shuffle_channel_param").group
    if group < 1:
        raise OpError("`group` must be positive")
    if shape[1] % group:
        raise OpError(f"`group` {group} does not divide the {shape[1]} channels")
    return group


def _infer_shuffle(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    channel_groups(node, shapes[0])
    return (shapes[0],)


def _infer_unsqueeze(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    param, shape = params(node, "unsqueeze_param"), shapes[0]
    if not param.HasField("dim"):
        raise OpError("`dim` is missing: where the new axis goes")
    dim = axis_of(param.dim, len(shape) + 1, "dim")
    return ((*shape[:dim], 1, *shape[dim:]),)


def tile_axis(node: Node, rank: int) -> tuple[int, int]:
    """The axis a Tile repeats and how often."""
    param = params(node, "tile_param")
    if param.tiles < 1:
        raise OpError("`tiles` must be given and be positive")
    return axis_of(param.axis, rank), int(param.tiles)


def _infer_tile(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    axis, tiles = tile_axis(node, len(shape))
    need_own_top(node)
    return ((*shape[:axis], shape[axis] * tiles, *shape[axis + 1 :]),)


@dataclass(frozen=True)
class Padding:
    """What a Pad does to an image [N, C, H, W]: cut off first, then add; (up, down, left, right)."""

    kind: int
    cut: tuple[int, int, int, int]
    added: tuple[int, int, int, int]
    value: float


def padding_of(node: Node, shape: Shape) -> Padding:
    """The padding of a Pad layer; a negative pad cuts off. Raises `OpError` where the image is too small for it."""
    need_rank(shape, 4)
    param = params(node, "pad_param")
    up, down, left, right = param.pad_u, param.pad_d, param.pad_l, param.pad_r
    cut = max(-up, 0), max(-down, 0), max(-left, 0), max(-right, 0)
    added = max(up, 0), max(down, 0), max(left, 0), max(right, 0)
    for size, (before, after), new in (
        (shape[2] - cut[0] - cut[1], cut[:2], max(added[:2])),
        (shape[3] - cut[2] - cut[3], cut[2:], max(added[2:])),
    ):
        if size < 0:
            raise OpError(f"cannot cut {before} and {after} off {size + before + after}")
        if param.pad_type == REPLICATE and new and size < 1:
            raise OpError("`REPLICATE` has no edge to repeat: nothing is left of the image")
        if param.pad_type == REFLECT and new >= max(size, 1):
            raise OpError(f"`REFLECT` can add at most {max(size - 1, 0)} to a side of {size}, not {new}")
    return Padding(int(param.pad_type), cut, added, float(param.pad_value))


def _infer_pad(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    pad = padding_of(node, shapes[0])
    up, down, left, right = (added - cut for added, cut in zip(pad.added, pad.cut, strict=True))
    count, channels, height, width = shapes[0]
    return ((count, channels, height + up + down, width + left + right),)


MOVEMENT_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Slice",
        summary="cuts a blob along an axis, at `slice_point` or into equal parts",
        inputs=ONE,
        outputs=Arity(1, None),
        infer=_infer_slice,
        parameter="slice_param",
        quantizable=_ON,
        changes_nothing=lambda node, shapes: len(node.outputs) == 1,
        moves_data=True,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Crop",
        summary="the part of the first blob, from `offset` on, that has the second one's size from `axis` on",
        inputs=Arity(2, 2),
        outputs=ONE,
        infer=_infer_crop,
        parameter="crop_param",
        quantizable=Quantizable(on_by_default=True, data_inputs=lambda node: (0,)),
        changes_nothing=lambda node, shapes: _infer_crop(node, shapes) == shapes[:1],
        dtypes=same_dtype,
        notes="the second input gives its shape only and is not quantized",
    ),
    OpDef(
        name="caffe.Permute",
        summary="the axes in another order",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_permute,
        parameter="permute_param",
        quantizable=_ON,
        permuting=Permuting(permutation, become_permute),
        changes_nothing=_permutes_nothing,
        moves_data=True,
        dtypes=same_dtype,
        notes="axes that `order` leaves out follow in ascending order",
    ),
    OpDef(
        name="caffe.Reverse",
        summary="the elements along axes in reverse order",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_reverse,
        parameter="reverse_param",
        quantizable=_ON,
        changes_nothing=_reverses_nothing,
        moves_data=True,
        dtypes=same_dtype,
        notes="without `axis` axis 0 is reversed, the default of the Caffes that have this layer",
    ),
    OpDef(
        name="caffe.ShuffleChannel",
        summary="deals the channels out: channel i of group g becomes channel i * group + g",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_shuffle,
        parameter="shuffle_channel_param",
        quantizable=_ON,
        changes_nothing=lambda node, shapes: channel_groups(node, shapes[0]) in (1, shapes[0][1]),
        moves_data=True,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Unsqueeze",
        summary="a new axis of size 1 at `dim`",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_unsqueeze,
        parameter="unsqueeze_param",
        reshaping=Reshaping(become_reshape),
        moves_data=True,
        dtypes=same_dtype,
        notes="a negative `dim` counts in the result: -1 is its last axis",
    ),
    OpDef(
        name="caffe.Tile",
        summary="the blob `tiles` times in a row along an axis",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_tile,
        parameter="tile_param",
        quantizable=_ON,
        changes_nothing=lambda node, shapes: _infer_tile(node, shapes) == shapes,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Pad",
        summary="more rows and columns around an image, of a constant, of its edge or of its reflection",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_pad,
        parameter="pad_param",
        quantizable=Quantizable(on_by_default=False),
        changes_nothing=lambda node, shapes: not any((*(pad := padding_of(node, shapes[0])).cut, *pad.added)),
        notes="a negative pad cuts off, before the other sides are padded; `REFLECT` does not repeat the edge itself",
    ),
    *BLOCK_OPS,
    *SELECTION_OPS,
)
"""Every op that moves, selects, repeats or creates elements."""
