"""Host ops of detection: DetectionOutput, Nms; Proposal and the pooling of regions stand in files of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.detection import DetectionSettings, detection_settings
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.hostops.boxes import Floats, best_first, decode, suppress
from amctc.runtime.hostops.host_op import Arrays, HostOp, for_op
from amctc.runtime.hostops.proposal import PROPOSAL
from amctc.runtime.hostops.regions import REGION_HOST_OPS


def _run_detection(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """Rows [1, 1, N, 7] (image, class, score, corners); before them the number of each image's, if asked for."""
    settings = detection_settings(node)
    loc, conf, prior = (array.astype(np.float32, copy=False) for array in inputs)
    images, priors = loc.shape[0], prior.shape[2] // 4
    if images * priors == 0:
        found: list[Floats] = [np.zeros((0, 6), np.float32)] * images
    else:
        boxes, variances = prior.reshape(2, priors, 4)
        sets = 1 if settings.shared else settings.classes
        decoded = decode(
            loc.reshape(images, priors, sets, 4).transpose(0, 2, 1, 3),
            boxes,
            variances,
            settings.code,
            settings.in_target,
        )
        scores = conf.reshape(images, priors, settings.classes).transpose(0, 2, 1)
        found = [_image(settings, decoded[image], scores[image]) for image in range(images)]
    rows = [np.insert(boxes, 0, image, axis=1) for image, boxes in enumerate(found)]
    table = np.concatenate(rows) if rows else np.zeros((0, 7), np.float32)
    if not len(table):
        table = np.full((images, 7), -1, np.float32)
        table[:, 0] = np.arange(images)
    top = table.reshape(1, 1, -1, 7)
    if len(node.outputs) == 1:
        return (top,)
    return np.array([len(boxes) for boxes in found], np.float32), top


def _image(settings: DetectionSettings, boxes: Floats, scores: Floats) -> Floats:
    """Rows [K, 6] of one image, for boxes [1 or C, P, 4] and scores [C, P]."""
    parts: list[Floats] = [np.zeros((0, 6), np.float32)]
    for label in np.flatnonzero((scores > np.float32(settings.confidence)).any(axis=1)):
        if label == settings.background:
            continue
        order = best_first(scores[label], settings.confidence, settings.top_k)
        own = boxes[0 if settings.shared else label][order]
        kept = suppress(own, settings.nms_threshold, eta=settings.eta)
        head = np.stack([np.full(len(kept), label, np.float32), scores[label][order[kept]]], axis=1)
        parts.append(np.concatenate([head, own[kept]], axis=1))
    rows = np.concatenate(parts)
    if 0 <= settings.keep_top_k < len(rows):
        best: NDArray[np.intp] = np.argsort(-rows[:, 1], kind="stable")[: settings.keep_top_k]
        return rows[np.sort(best)]
    return rows


def _run_nms(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """The boxes that are kept, best first, and their scores."""
    param = params(node, "nms_param")
    boxes = inputs[0].astype(np.float32, copy=False)
    scores = inputs[1].astype(np.float32, copy=False).reshape(-1)
    flat = boxes.reshape(-1, 4)
    order = best_first(scores, float(param.score_threshold), -1)
    most = int(param.top_k) if param.top_k >= 0 else None
    kept = order[suppress(flat[order], float(param.nms_threshold), most)]
    return (flat[kept].reshape(*boxes.shape[:-2], -1, 4), scores[kept])[: len(node.outputs)]


DETECTION_HOST_OPS: tuple[HostOp, ...] = (
    for_op("caffe.DetectionOutput", _run_detection),
    for_op("caffe.SSDDetectionOutput", _run_detection),
    for_op("caffe.Nms", _run_nms),
    PROPOSAL,
    *REGION_HOST_OPS,
)
