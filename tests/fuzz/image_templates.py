"""Layers of images: windows, resampling, blocks."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.ir.node import Shape
from tests.fuzz.pieces import IMAGES, Bench, Piece, Template


def _image(*texts: str) -> Template:
    """A layer of one image."""
    return lambda bench: Piece((bench.image(),), bench.pick("", *texts))


def _filters(bench: Bench, channels: int) -> str:
    kernel = bench.between(1, 3)
    group = bench.pick(*(g for g in (1, 2, channels) if channels % g == 0))
    outputs = group * bench.between(1, 3)
    sizes = f"kernel_size: {kernel} pad: {bench.between(0, 1)} stride: {bench.between(1, 2)}"
    dilation = f"dilation: {bench.between(1, 2)}" if kernel == 2 else ""
    bias = f"bias_term: {bench.flag()}"
    return f"convolution_param {{ num_output: {outputs} {sizes} {dilation} group: {group} {bias} }}"


def _convolution(bench: Bench) -> Piece:
    image = bench.image(lambda shape: min(shape[2:]) >= 3 and shape[1] <= 16)
    return Piece((image,), _filters(bench, image.shape[1]))


def _depthwise(bench: Bench) -> Piece:
    image = bench.image(lambda shape: min(shape[2:]) >= 3 and shape[1] <= 16)
    sizes = f"num_output: {image.shape[1]} kernel_size: {bench.between(1, 3)} pad: {bench.between(0, 1)}"
    return Piece((image,), f"convolution_param {{ {sizes} bias_term: {bench.flag()} }}")


def _im2col(bench: Bench) -> Piece:
    image = bench.image(lambda shape: min(shape[2:]) >= 3 and shape[1] <= 16)
    return Piece((image,), f"convolution_param {{ kernel_size: {bench.between(1, 3)} stride: {bench.between(1, 2)} }}")


def _pooling(bench: Bench) -> Piece:
    image = bench.image(lambda shape: min(shape[2:]) >= 3)
    kernel = bench.between(1, 3)
    method, more = bench.pick(("MAX", ""), ("AVE", ""), ("MAX", "round_mode: FLOOR"), ("AVE", "ceil_mode: false"))
    sizes = f"kernel_size: {kernel} stride: {bench.between(1, 2)} pad: {bench.between(0, kernel - 1)} {more}"
    if bench.pick(False, False, True):
        return Piece((image,), f"pooling_param {{ pool: {method} global_pooling: true }}")
    tops = bench.pick(1, 2) if method == "MAX" else 1
    return Piece((image,), f"pooling_param {{ pool: {method} {sizes} }}", tops)


def _spp(bench: Bench) -> Piece:
    image = bench.image(lambda shape: min(shape[2:]) >= 3)
    return Piece((image,), bench.pick("spp_param { pyramid_height: 2 }", "spp_param { pyramid_height: 1 pool: AVE }"))


def _divisible(axes: str, by: int, otherwise: Shape, *texts: str) -> Template:
    """A layer of an image whose channels (`c`) or sides (`s`) are multiples."""
    at = 1 if axes == "c" else 2

    def fits(shape: Shape) -> bool:
        return all(size % by == 0 for size in (shape[1:2] if at == 1 else shape[2:]))

    return lambda bench: Piece((bench.image(fits, otherwise),), bench.pick(*texts))


def _resampled(*texts: str) -> Template:
    return lambda bench: Piece((bench.image(lambda shape: max(shape[2:]) <= 12),), bench.pick(*texts))


def _unpooling(parameter: str) -> Template:
    def make(bench: Bench) -> Piece:
        image = bench.image()
        height, width = image.shape[2] * 2, image.shape[3] * 2
        mask = bench.input(image.shape, f"below{height * width}")
        sizes = f"dst_h: {height} dst_w: {width}" if parameter == "max_unpool_param" else "kernel_size: 2 stride: 2"
        return Piece((image, mask), f"{parameter} {{ {sizes} }}")

    return make


def _axpy(bench: Bench) -> Piece:
    image = bench.image()
    factors = (*image.shape[:2], 1, 1)
    return Piece((bench.blob(lambda shape: shape == factors, factors), image, bench.like(image)))


_MVN = ("mvn_param { across_channels: true }", "mvn_param { normalize_variance: false }")

IMAGE_LAYERS: Mapping[str, Template] = {
    "Convolution": _convolution,
    "DepthwiseConv": _depthwise,
    "Deconvolution": _convolution,
    "Im2col": _im2col,
    "Pooling": _pooling,
    "SPP": _spp,
    "LRN": _image("lrn_param { local_size: 3 }", "lrn_param { norm_region: WITHIN_CHANNEL }", "lrn_param { beta: 0 }"),
    "Reorg": lambda bench: (
        _divisible("s", 2, IMAGES, "", "reorg_param { stride: 2 }")
        if bench.pick(True, False)
        else _divisible("c", 4, IMAGES, "reorg_param { stride: 2 reverse: true }")
    )(bench),
    "PassThrough": _divisible("s", 2, IMAGES, "pass_through_param { block_height: 2 block_width: 2 }"),
    "PixelShuffle": _divisible("c", 4, IMAGES, "pixelshuffle_param { upscale_factor: 2 }"),
    "Upsample": _resampled("", "upsample_param { scale: 2 }", "upsample_param { stride: 2 }"),
    "Pad": _resampled("pad_param { pad_u: 1 pad_r: 2 }", "pad_param { pad_type: REPLICATE pad_l: 1 pad_d: -1 }"),
    "MaxUnPool": _unpooling("max_unpool_param"),
    "Unpooling": _unpooling("unpooling_param"),
    "Interp": _resampled("interp_param { height: 5 width: 4 }", "interp_param { zoom_factor: 2 }"),
    "BilinearInterpolate": _resampled(
        "bilinear_interpolate_param { dst_h: 5 dst_w: 7 }",
        "bilinear_interpolate_param { scale_factor: 2 align_corners: false }",
    ),
    "Resize": _resampled("resize_param { height: 5 width: 7 }"),
    "Axpy": _axpy,
    "MVN": _image(*_MVN),
    "Mvm": _image(*_MVN),
    "Normalize": _image("norm_param { across_spatial: false channel_shared: false }"),
}
