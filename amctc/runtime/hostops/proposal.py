"""Proposal, the regions of Faster R-CNN.

Semantics: proposal_layer.cpp of PVANet's Caffe (sanghoon/caffe); the anchors are those of the recorded figures.
"""

from __future__ import annotations

import math

import numpy as np

from amctc.dialects.caffe.detection import ProposalSettings, proposal_settings
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.hostops.boxes import Floats, suppress
from amctc.runtime.hostops.host_op import Arrays, for_op


def _run_proposal(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """Regions [R, 5] (image, corners), and their scores [R] or the number of them in each image [N]."""
    settings = proposal_settings(node)
    scores, deltas, info = (array.astype(np.float32, copy=False) for array in inputs)
    info = info.reshape(len(info), math.prod(info.shape[1:]))
    found = [
        _image(settings, scores[image], deltas[image], info[image if len(info) > 1 else 0])
        for image in range(len(scores))
    ]
    rois = [np.insert(rows[:, :4], 0, image, axis=1) for image, rows in enumerate(found)]
    table = np.concatenate([np.zeros((0, 5), np.float32), *rois])
    if settings.counts:
        second = np.array([len(rows) for rows in found], np.float32)
    else:
        second = np.concatenate([np.zeros(0, np.float32), *(rows[:, 4] for rows in found)])
    return (table, second)[: len(node.outputs)]


def _image(settings: ProposalSettings, scores: Floats, deltas: Floats, info: Floats) -> Floats:
    """Rows [R, 5] (corners, score) of one image, for scores [2A, H, W] and deltas [4A, H, W]."""
    anchors, height, width = len(settings.anchors), scores.shape[1], scores.shape[2]
    moves = deltas.reshape(anchors, 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
    likely = scores[anchors:].transpose(1, 2, 0).reshape(-1)
    boxes = _moved(_anchors(settings, height, width), moves, info)
    least = np.float32(settings.min_size) * np.array([info[3] if len(info) > 3 else info[2], info[2]], np.float32)
    with np.errstate(invalid="ignore"):
        large = (boxes[:, 2:] - boxes[:, :2] + np.float32(1) >= least).all(axis=1)
    likely = np.where(large, likely, np.float32(0))
    order = np.argsort(-likely, kind="stable")[: settings.before]
    kept = order[suppress(boxes[order], settings.threshold, settings.after, pixel=1.0)]
    return np.concatenate([boxes[kept], likely[kept, np.newaxis]], axis=1)


def _anchors(settings: ProposalSettings, height: int, width: int) -> Floats:
    """[H * W * A, 4]: the anchors of every cell."""
    sizes = np.array(settings.anchors, np.float32)
    half = (sizes - 1) / np.float32(2)
    own = np.concatenate([np.float32(settings.centre) - half, np.float32(settings.centre) + half], axis=1)
    rows, columns = (np.arange(count, dtype=np.float32) * np.float32(settings.stride) for count in (height, width))
    x, y = np.meshgrid(columns, rows)
    shift = np.stack([x, y, x, y], axis=-1)
    found: Floats = np.add(shift[:, :, np.newaxis], own)
    return found.reshape(-1, 4)


def _moved(anchors: Floats, moves: Floats, info: Floats) -> Floats:
    """Anchors moved and stretched, cut at the borders of an image of height info[0] and width info[1]."""
    one, half = np.float32(1), np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        size = anchors[:, 2:] - anchors[:, :2] + one
        centre = anchors[:, :2] + half * size + moves[:, :2] * size
        reach = half * (np.exp(moves[:, 2:]) * size)
        border = np.tile(info[1::-1] - one, 2)
        boxes = np.concatenate([centre - reach, centre + reach], axis=1)
        cut: Floats = np.maximum(np.minimum(boxes, border), np.float32(0))
    return cut


PROPOSAL = for_op("caffe.Proposal", _run_proposal)
