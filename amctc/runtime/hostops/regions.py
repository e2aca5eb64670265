"""Pooling of regions.

Semantics: roi_pooling_layer.cpp of Fast R-CNN's Caffe (rbgirshick/caffe-fast-rcnn), psroi_pooling_layer.cu
of R-FCN's (daijifeng001/caffe-rfcn), and the ROIAlign of Mask R-CNN's authors (facebookresearch/Detectron).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.regions import pooling_scales
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.hostops.bad_values import bad_value
from amctc.runtime.hostops.boxes import Floats
from amctc.runtime.hostops.host_op import Arrays, HostOp, for_op

_FARTHEST = np.float32(2**24)
"""Pixels; a corner farther out than that is taken for one there, which is outside any image as well."""


def _run_roi_pooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """[R, C, pooled_h, pooled_w]: the largest element of each bin, 0 for a bin outside the map."""
    features, images, corners = _checked(node, inputs)
    scales = np.array(pooling_scales(node), np.float32)[[1, 0, 1, 0]]
    corners = _rounded(_scaled(corners, scales))
    top = np.zeros(shapes[0], np.float32)
    for region, (image, box) in enumerate(zip(images, corners, strict=True)):
        sizes = np.maximum(box[2:] - box[:2] + np.float32(1), np.float32(1))
        rows = _bins(box[1], sizes[1], shapes[0][2], features.shape[2], rounded=True)
        columns = _bins(box[0], sizes[0], shapes[0][3], features.shape[3], rounded=True)
        top[region] = _largest(_largest(features[image], rows, axis=1), columns, axis=2)
    return (top,)


def _largest(x: Floats, bins: NDArray[np.int64], axis: int) -> Floats:
    """The maximum over [start, end) along an axis for each of the bins [B, 2]; 0 where one is empty."""
    found = [
        np.take(x, range(start, end), axis=axis).max(axis=axis)
        if start < end
        else np.zeros_like(x, shape=(*x.shape[:axis], *x.shape[axis + 1 :]))
        for start, end in bins
    ]
    return np.stack(found, axis=axis)


def _run_psroi_pooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """[R, output_dim, g, g]: the mean of each bin in the channel of its own, 0 for a bin outside the map."""
    features, images, corners = _checked(node, inputs)
    scale = np.float32(params(node, "psroi_pooling_param").spatial_scale)
    corners = _rounded(corners)
    corners = _scaled(np.concatenate([corners[:, :2], corners[:, 2:] + np.float32(1)], axis=1), scale)
    _, outputs, group, _ = shapes[0]
    grouped = features.reshape(len(features), outputs, group, group, *features.shape[2:])
    top = np.zeros(shapes[0], np.float32)
    for region, (image, box) in enumerate(zip(images, corners, strict=True)):
        sizes = np.maximum(box[2:] - box[:2], np.float32(0.1))
        rows = _bins(box[1], sizes[1], group, features.shape[2], rounded=False)
        columns = _bins(box[0], sizes[0], group, features.shape[3], rounded=False)
        for i, (first, last) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if first < last and left < right:
                    top[region, :, i, j] = grouped[image, :, i, j, first:last, left:right].mean(axis=(1, 2))
    return (top,)


def _bins(start: np.float32, size: np.float32, count: int, limit: int, rounded: bool) -> NDArray[np.int64]:
    """[count, 2]: where each bin of a region starts and ends in an axis of `limit` pixels.

    `rounded` regions start at a pixel, to which the bins' rounded borders are added; of others the
    border itself is rounded.
    """
    each = size / np.float32(count)
    steps = np.arange(count, dtype=np.float32)
    first, last = steps * each, (steps + np.float32(1)) * each
    if not rounded:
        first, last = first + start, last + start
    borders = np.stack([np.floor(first), np.ceil(last)], axis=1)
    if rounded:
        borders += start
    whole: NDArray[np.int64] = np.clip(borders, 0, limit).astype(np.int64)
    return whole


def _run_roi_align(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """[R, C, pooled_h, pooled_w]: the mean of the samples of each bin; one outside the map counts as 0."""
    features, images, corners = _checked(node, inputs)
    param = params(node, "roi_align_param")
    corners[:, 2:] += np.float32(param.roi_end_mode)
    corners = _scaled(corners, np.float32(param.spatial_scale))
    top = np.zeros(shapes[0], np.float32)
    for region, (image, box) in enumerate(zip(images, corners, strict=True)):
        sizes = np.maximum(box[2:] - box[:2], np.float32(1))
        rows = _samples(box[1], sizes[1], shapes[0][2], features.shape[2], int(param.sampling_ratio))
        columns = _samples(box[0], sizes[0], shapes[0][3], features.shape[3], int(param.sampling_ratio))
        top[region] = rows @ features[image] @ columns.T
    return (top,)


def _samples(start: np.float32, size: np.float32, count: int, limit: int, ratio: int) -> NDArray[np.float64]:
    """[count, limit]: how much each pixel of an axis counts in each bin of a region.

    A bin's samples lie evenly in it; each is shared by the two pixels beside it. Those farther than
    one pixel from the map count 0.
    """
    each = size / np.float32(count)
    samples = ratio if ratio > 0 else int(np.ceil(each))
    step = float(each) / samples
    found = np.zeros((count, limit))
    # Only samples near the map are made: a region may be far larger than it.
    near = (np.array([-1.0, limit]) - float(start)) / step
    numbers = np.arange(max(int(near[0]) - 1, 0), min(int(near[1]) + 2, count * samples))
    places = float(start) + (numbers + 0.5) * step
    inside = (places >= -1) & (places <= limit)
    if limit == 0 or not inside.any():
        return found
    bins = numbers[inside] // samples
    places = np.clip(places[inside], 0, limit - 1)
    low = np.floor(places).astype(np.int64)
    part = places - low
    np.add.at(found, (bins, low), (1 - part) / samples)
    np.add.at(found, (bins, np.minimum(low + 1, limit - 1)), part / samples)
    return found


def _checked(node: Node, inputs: Arrays) -> tuple[Floats, NDArray[np.int64], Floats]:
    """The feature map, and of every region the image's index [R] and the corners [R, 4].

    Raises `DiagnosticError` (AM432) for a region of no image of the batch, or whose corners are NaN.
    """
    features = inputs[0].astype(np.float32, copy=False)
    regions = inputs[1].astype(np.float32, copy=False).reshape(-1, 5)
    right = (regions[:, 0] >= 0) & (regions[:, 0] < len(features)) & ~np.isnan(regions).any(axis=1)
    if not right.all():
        number = int((~right).argmax())
        values = ", ".join(f"{value:g}" for value in regions[number])
        message = f"region {number} is ({values}): not an image of the batch of {len(features)} and four corners"
        raise bad_value(node, message, "a region is (image, xmin, ymin, xmax, ymax)")
    return features, regions[:, 0].astype(np.int64), np.clip(regions[:, 1:], -_FARTHEST, _FARTHEST)


def _scaled(corners: Floats, scale: Floats | np.float32) -> Floats:
    """From the image's pixels to the feature map's; far outside stays far outside, and finite."""
    found: Floats = np.clip(corners * scale, -_FARTHEST, _FARTHEST)
    return found


def _rounded(x: Floats) -> Floats:
    """To whole numbers as C's `round` does: halves away from zero."""
    found: Floats = np.trunc(x + np.copysign(np.float32(0.5), x))
    return found


REGION_HOST_OPS: tuple[HostOp, ...] = (
    for_op("caffe.ROIPooling", _run_roi_pooling),
    for_op("caffe.PSROIPooling", _run_psroi_pooling),
    for_op("caffe.ROIAlign", _run_roi_align),
)
