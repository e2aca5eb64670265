"""Pooling of regions: ROIPooling, PSROIPooling, ROIAlign."""

from __future__ import annotations

import math
from typing import Any

from amctc.dialects.caffe.blobs import describe, need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

_MOST_BINS = 1024
_MOST_SAMPLES = 128

# A region's corner in 8 bits would be off by pixels: only the feature map is quantized.
_FEATURES = Quantizable(on_by_default=True, data_inputs=lambda node: (0,))


def region_count(features: Shape, regions: Shape) -> int:
    """How many regions there are. Raises `OpError` unless the blobs are [N, C, H, W] and [R, 5] or [R, 5, 1, 1]."""
    need_rank(features, 4)
    if len(regions) < 2 or math.prod(regions[1:]) != 5:
        raise OpError(f"the second input must be regions (image, xmin, ymin, xmax, ymax), not {describe(regions)}")
    return regions[0]


def pooled_size(param: Any) -> tuple[int, int]:
    """(height, width) of what a region is pooled to."""
    for name in ("pooled_h", "pooled_w"):
        if not 1 <= getattr(param, name) <= _MOST_BINS:
            raise OpError(f"`{name}` must lie between 1 and {_MOST_BINS}, not be {getattr(param, name)}")
    return int(param.pooled_h), int(param.pooled_w)


def pooling_scales(node: Node) -> tuple[float, float]:
    """From the image's pixels to ROIPooling's feature map, (height, width)."""
    param = params(node, "roi_pooling_param")
    high = _scale(param, "spatial_scale_h" if param.HasField("spatial_scale_h") else "spatial_scale")
    wide = _scale(param, "spatial_scale_w" if param.HasField("spatial_scale_w") else "spatial_scale")
    return high, wide


def _scale(param: Any, name: str) -> float:
    scale = float(getattr(param, name))
    if not 0 < scale < math.inf:
        raise OpError(f"`{name}` must be positive, not {scale:g}")
    return scale


def _infer_roi_pooling(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    count = region_count(shapes[0], shapes[1])
    pooling_scales(node)
    return ((count, shapes[0][1], *pooled_size(params(node, "roi_pooling_param"))),)


def _infer_psroi_pooling(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    count = region_count(shapes[0], shapes[1])
    param = params(node, "psroi_pooling_param")
    _scale(param, "spatial_scale")
    if not 1 <= param.group_size <= _MOST_BINS:
        raise OpError(f"`group_size` must lie between 1 and {_MOST_BINS}, not be {param.group_size}")
    if param.output_dim < 1:
        raise OpError(f"`output_dim` must be positive, not {param.output_dim}")
    wanted = param.output_dim * param.group_size**2
    if shapes[0][1] != wanted:
        raise OpError(
            f"{param.output_dim} outputs of {param.group_size}x{param.group_size} groups need {wanted} channels, "
            f"the input has {shapes[0][1]}"
        )
    return ((count, param.output_dim, param.group_size, param.group_size),)


def _infer_roi_align(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    count = region_count(shapes[0], shapes[1])
    param = params(node, "roi_align_param")
    _scale(param, "spatial_scale")
    if param.sampling_ratio > _MOST_SAMPLES:
        raise OpError(f"`sampling_ratio` must be at most {_MOST_SAMPLES}, not {param.sampling_ratio}")
    if param.roi_end_mode not in (0, 1):
        raise OpError(f"`roi_end_mode` must be 0 or 1, not {param.roi_end_mode}")
    return ((count, shapes[0][1], *pooled_size(param)),)


REGION_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.ROIPooling",
        summary="the largest element of each bin of a region",
        inputs=Arity(2, 3),
        outputs=ONE,
        infer=_infer_roi_pooling,
        parameter="roi_pooling_param",
        quantizable=_FEATURES,
        notes=(
            "as in Fast R-CNN's Caffe: corners are rounded, an empty bin gives 0; of the inputs only the feature map "
            "is quantized; a third input, ATC's number of regions, is not needed and not read"
        ),
    ),
    OpDef(
        name="caffe.PSROIPooling",
        summary="the mean of each bin of a region, each bin from channels of its own",
        inputs=Arity(2, 2),
        outputs=ONE,
        infer=_infer_psroi_pooling,
        parameter="psroi_pooling_param",
        quantizable=_FEATURES,
        notes="as in R-FCN's Caffe: corners are rounded, an empty bin gives 0; only the feature map is quantized",
    ),
    OpDef(
        name="caffe.ROIAlign",
        summary="the mean of bilinear samples of each bin of a region",
        inputs=Arity(2, 3),
        outputs=ONE,
        infer=_infer_roi_align,
        parameter="roi_align_param",
        quantizable=_FEATURES,
        notes=(
            "`sampling_ratio` samples a bin along each axis, by default as many as the bin has pixels (rounded up); "
            "a region is at least one pixel wide and high; `roi_end_mode: 1` (chosen, there is no public definition) "
            "counts the last pixel in: xmax + 1, ymax + 1; only the feature map is quantized; a third input, ATC's "
            "number of regions, is not read"
        ),
    ),
)
