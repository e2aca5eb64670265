"""SSD's last layer as ONNX: decoding in plain ops, then NonMaxSuppression and TopK, image by image.

Ties are broken as in Caffe: TopK and NonMaxSuppression take the smaller index first. A score that is not among the
`top_k` of its class becomes the smallest float, which is above no threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.detection import CENTER_SIZE, DetectionSettings, detection_settings
from amctc.dialects.op import OpError
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule

_LOWEST = float(np.finfo(np.float32).min)
_MOST_IMAGES = 64


def why_not(node: Node) -> str | None:
    """Why a detection layer has no form in ONNX; None where it has one, or is wrong itself."""
    try:
        settings = detection_settings(node)
    except OpError:
        return None
    if settings.eta < 1:
        return "shrinks its threshold after each box (`eta`), which NonMaxSuppression cannot"
    if settings.code != CENTER_SIZE:
        return "has boxes that are no centres and sizes (`code_type`): NonMaxSuppression would turn their corners round"
    if not settings.shared:
        return "has boxes of their own for each class (`share_location: false`)"
    shape = node.inputs[0].shape
    if shape is not None and not 0 < shape[0] <= _MOST_IMAGES:
        return f"is written image by image, for 1 to {_MOST_IMAGES} images, and this batch has {shape[0]}"
    return None


def lower_detection(low: Lowering, node: Node) -> None:
    """Rows [1, 1, N, 7] (image, class, score, corners); before them the number of each image's, if asked for."""
    settings = detection_settings(node)
    loc, conf, prior = node.inputs
    images, priors = low.shape(loc)[0], low.shape(prior)[2] // 4
    boxes = _decoded(low, node, settings, images, priors)
    flat = low.reshape(low.name(conf), (images, priors, settings.classes))
    labels = [label for label in range(settings.classes) if label != settings.background]
    wanted = _ints(low, labels)
    scores = low.emit("Gather", [low.emit("Transpose", [flat], perm=(0, 2, 1)), wanted], axis=1)
    numbers = low.constant(np.array(labels, np.float32), f"{node.name}.labels")
    found = [_image(low, settings, index, boxes, scores, numbers, (len(labels), priors)) for index in range(images)]
    rows = low.emit("Concat", found, axis=0) if len(found) > 1 else found[0]
    low.reshape(_never_empty(low, node, rows, images), (1, 1, -1, 7), low.name(node.outputs[-1]))
    if len(node.outputs) > 1:
        counts = [_count(low, each) for each in found]
        whole = low.emit("Concat", counts, axis=0) if len(counts) > 1 else counts[0]
        low.emit("Cast", [whole], low.name(node.outputs[0]), to=1)


def _decoded(low: Lowering, node: Node, settings: DetectionSettings, images: int, priors: int) -> str:
    """Corners [N, P, 4]: centre + v*d*size, and exp(v*d)*size around it; in Caffe's order."""
    deltas = low.reshape(low.name(node.inputs[0]), (images, priors, 4))
    both = low.reshape(low.name(node.inputs[2]), (2, priors, 4))
    anchors = low.emit("Gather", [both, low.constant(np.array(0, np.int64), "first")], axis=0)
    moved = deltas
    if not settings.in_target:
        variances = low.emit("Gather", [both, low.constant(np.array(1, np.int64), "second")], axis=0)
        moved = low.emit("Mul", [variances, deltas])
    least, most = (_columns(low, anchors, start, start + 2, 1) for start in (0, 2))
    size, two = low.emit("Sub", [most, least]), low.scalar(2.0, "two")
    middle = low.emit("Div", [low.emit("Add", [least, most]), two])
    centre = low.emit("Add", [low.emit("Mul", [_columns(low, moved, 0, 2, 2), size]), middle])
    grown = low.emit("Mul", [low.emit("Exp", [_columns(low, moved, 2, 4, 2)]), size])
    half = low.emit("Div", [grown, two])
    return low.emit("Concat", [low.emit("Sub", [centre, half]), low.emit("Add", [centre, half])], axis=2)


def _image(
    low: Lowering,
    settings: DetectionSettings,
    index: int,
    boxes: str,
    scores: str,
    labels: str,
    sizes: tuple[int, int],
) -> str:
    """Rows [K, 7] of one image, for boxes [N, P, 4] and scores [N, C, P]; `sizes` are C and P."""
    classes, priors = sizes
    one = _ints(low, [index])
    own, ranked = low.emit("Gather", [boxes, one], axis=0), low.emit("Gather", [scores, one], axis=0)
    judged = ranked
    if 0 <= settings.top_k < priors:
        top, places = low.fresh("best"), low.fresh("places")
        low.emit_many("TopK", [ranked, _ints(low, [settings.top_k])], [top, places], axis=2)
        lowest = low.constant(np.full((1, classes, priors), _LOWEST, np.float32), "lowest")
        judged = low.emit("ScatterElements", [lowest, places, top], axis=2)
    limits = (low.scalar(min(settings.nms_threshold, 1.0), "overlap"), low.scalar(settings.confidence, "confidence"))
    chosen = low.emit("NonMaxSuppression", [own, judged, _ints(low, [priors]), *limits])
    label_of, box_of = (
        low.emit("Gather", [chosen, low.constant(np.array(column, np.int64), "column")], axis=1) for column in (1, 2)
    )
    column = (-1, 1)
    label = low.reshape(low.emit("Gather", [labels, label_of], axis=0), column)
    places = _columns(low, chosen, 1, 3, 1)
    score = low.emit("GatherND", [low.reshape(ranked, (classes, priors)), places])
    corners = low.emit("Gather", [low.reshape(own, (priors, 4)), box_of], axis=0)
    nothing = low.emit("Mul", [label, low.scalar(0.0, "zero")])
    number = low.emit("Add", [nothing, low.scalar(index, "image")])
    rows = low.emit("Concat", [number, label, low.reshape(score, column), corners], axis=1)
    return _best(low, rows, score, settings.keep_top_k) if settings.keep_top_k >= 0 else rows


def _best(low: Lowering, rows: str, scores: str, most: int) -> str:
    """The rows of the `most` best scores, in their order."""
    count = low.emit("Min", [_ints(low, [most]), low.emit("Shape", [scores])])
    places, order = low.fresh("places"), low.fresh("order")
    low.emit_many("TopK", [scores, count], [low.fresh("best"), places], axis=0)
    low.emit_many("TopK", [places, count], [order, low.fresh("unused")], axis=0, largest=0)
    return low.emit("Gather", [rows, order], axis=0)


def _never_empty(low: Lowering, node: Node, rows: str, images: int) -> str:
    """Where the batch has no row at all, one (image, -1, -1, -1, -1, -1, -1) for each image."""
    others = np.full((images, 7), -1, np.float32)
    others[:, 0] = np.arange(images)
    none = low.emit("Cast", [low.emit("Equal", [_count(low, rows), _ints(low, [0])])], to=7)
    end = low.emit("Mul", [none, _ints(low, [images])])
    fallback = low.constant(others, f"{node.name}.nothing")
    part = low.emit("Slice", [fallback, _ints(low, [0]), end, _ints(low, [0])])
    return low.emit("Concat", [rows, part], axis=0)


def _count(low: Lowering, rows: str) -> str:
    """The number of rows as int64 [1]."""
    return low.emit("Shape", [rows], start=0, end=1)


def _columns(low: Lowering, source: str, start: int, end: int, axis: int) -> str:
    return low.emit("Slice", [source, *(_ints(low, [number]) for number in (start, end, axis))])


def _ints(low: Lowering, numbers: list[int]) -> str:
    return low.constant(np.array(numbers, np.int64), "numbers")


DETECTION: Mapping[str, Rule] = MappingProxyType(
    {"caffe.DetectionOutput": lower_detection, "caffe.SSDDetectionOutput": lower_detection}
)
