"""Ops between the channels and blocks of the image: Reorg, PassThrough, PixelShuffle, Upsample."""

from __future__ import annotations

from dataclasses import dataclass

from amctc.dialects.caffe.blobs import need_own_top, need_rank, same_dtype
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

PASS_THROUGH = "pass_through_param"

_ON = Quantizable(on_by_default=True)
_ORDER = (
    "channel c of the element (y, x) of a block becomes channel (y * block_width + x) * C + c, "
    "as on the devices (space to depth)"
)


@dataclass(frozen=True)
class Blocks:
    """How an op moves blocks of (high, wide) elements: into the channels, or out of them.

    `block_first` says whether channels are numbered block element by block element, or channel by
    channel.
    """

    high: int
    wide: int
    into_channels: bool
    block_first: bool

    def output(self, shape: Shape) -> Shape:
        """The shape for an input [N, C, H, W]. Raises `OpError` where the blocks do not fit."""
        need_rank(shape, 4)
        count, channels, height, width = shape
        if min(self.high, self.wide) < 1:
            raise OpError(f"the block must have positive sizes, not {self.high}x{self.wide}")
        area = self.high * self.wide
        if self.into_channels:
            if height % self.high or width % self.wide:
                raise OpError(f"blocks of {self.high}x{self.wide} do not fill the image of {height}x{width}")
            return count, channels * area, height // self.high, width // self.wide
        if channels % area:
            raise OpError(f"the {channels} channels cannot become blocks of {self.high}x{self.wide}")
        return count, channels // area, height * self.high, width * self.wide


def blocks_of(node: Node) -> Blocks:
    """The blocks of a Reorg, PassThrough or PixelShuffle layer."""
    if node.type == "PixelShuffle":
        param = params(node, "pixelshuffle_param")
        if not param.HasField("upscale_factor"):
            raise OpError("`upscale_factor` is missing")
        return Blocks(param.upscale_factor, param.upscale_factor, into_channels=False, block_first=False)
    if node.type == "PassThrough" and PASS_THROUGH in node.attrs:
        param = params(node, PASS_THROUGH)
        return Blocks(param.block_height, param.block_width, into_channels=True, block_first=True)
    param = params(node, "reorg_param")
    return Blocks(param.stride, param.stride, into_channels=not param.reverse, block_first=True)


def _infer_blocks(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    found = blocks_of(node).output(shapes[0])
    wanted = params(node, PASS_THROUGH).num_output
    if node.type == "PassThrough" and wanted and wanted != found[1]:
        raise OpError(f"`num_output` is {wanted}, but the blocks give {found[1]} channels")
    return (found,)


@dataclass(frozen=True)
class Upsampling:
    """Each element of an image `high` x `wide` times, multiplied by `factor`."""

    high: int
    wide: int
    factor: float


def upsampling_of(node: Node, rank: int) -> Upsampling:
    """The repetitions of an Upsample layer for a blob of `rank` axes (3: no height)."""
    param = params(node, "upsample_param")
    if param.dims_num not in (3, 4):
        raise OpError(f"`dims_num` must be 3 or 4, not {param.dims_num}")
    if rank != param.dims_num:
        raise OpError(f"takes a blob of {param.dims_num} axes (`dims_num`), this one has {rank}")
    strided = any(param.HasField(name) for name in ("stride", "stride_h", "stride_w"))
    if param.HasField("scale") and not strided:
        if not float(param.scale).is_integer():
            raise OpError(f"`scale`, the number of repetitions, must be a whole number, not {param.scale:g}")
        high = wide = int(param.scale)
        factor = 1.0
    else:
        one = param.HasField("stride")
        high, wide = (param.stride, param.stride) if one else (param.stride_h, param.stride_w)
        factor = float(param.scale)
    if min(high, wide) < 1:
        raise OpError(f"the number of repetitions must be positive, not {min(high, wide)}")
    return Upsampling(high if rank == 4 else 1, wide, factor)


def _infer_upsample(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    shape = shapes[0]
    how = upsampling_of(node, len(shape))
    sizes = (shape[-1] * how.wide,) if len(shape) == 3 else (shape[2] * how.high, shape[3] * how.wide)
    return ((*shape[:2], *sizes),)


BLOCK_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Reorg",
        summary="blocks of `stride` x `stride` elements into the channels; with `reverse` back",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_blocks,
        changes_nothing=lambda node, shapes: _infer_blocks(node, shapes) == shapes,
        parameter="reorg_param",
        quantizable=_ON,
        moves_data=True,
        dtypes=same_dtype,
        notes=(
            f"{_ORDER}; `reverse` is the inverse, which is also what darknet's code does; without `reverse` darknet "
            "itself, and Caffes that copy its code, number the elements otherwise"
        ),
    ),
    OpDef(
        name="caffe.PassThrough",
        summary="blocks of `block_height` x `block_width` elements into the channels",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_blocks,
        changes_nothing=lambda node, shapes: _infer_blocks(node, shapes) == shapes,
        parameter=PASS_THROUGH,
        quantizable=_ON,
        moves_data=True,
        dtypes=same_dtype,
        notes=f"{_ORDER}; a layer without `{PASS_THROUGH}` is read as a Reorg, with `reorg_param`",
    ),
    OpDef(
        name="caffe.PixelShuffle",
        summary="channels into blocks of `upscale_factor` x `upscale_factor` elements",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_blocks,
        changes_nothing=lambda node, shapes: _infer_blocks(node, shapes) == shapes,
        parameter="pixelshuffle_param",
        moves_data=True,
        dtypes=same_dtype,
        notes="channel (c * factor + y) * factor + x becomes the element (y, x) of the blocks of channel c",
    ),
    OpDef(
        name="caffe.Upsample",
        summary="each element of the image several times",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_upsample,
        changes_nothing=lambda node, shapes: upsampling_of(node, len(shapes[0])) == Upsampling(1, 1, 1.0),
        parameter="upsample_param",
        quantizable=_ON,
        notes=(
            "with a stride, or with no parameter at all, as ATC reads it: repeated `stride` times, or `stride_h` and "
            "`stride_w`, and multiplied by `scale`; with `scale` alone as other Caffes do: repeated `scale` times"
        ),
    ),
)
