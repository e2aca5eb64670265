"""Detection: PriorBox, DetectionOutput, Proposal, Nms, and pooling of regions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amctc.dialects.caffe.blobs import describe, need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.prior_box import PRIOR_BOX
from amctc.dialects.caffe.regions import REGION_OPS
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

CORNER, CENTER_SIZE, CORNER_SIZE = 1, 2, 3
"""How predictions say a box: by its corners, by centre and size, by corners relative to the prior's size."""

_ROW = 7
_MOST_VALUES = 256


@dataclass(frozen=True)
class DetectionSettings:
    """The numbers of a DetectionOutput or SSDDetectionOutput; -1 means no limit, or no background."""

    classes: int
    shared: bool
    """Whether all classes have one box a prior."""
    background: int
    code: int
    in_target: bool
    """Whether the variances are already in the predictions."""
    confidence: float
    nms_threshold: float
    eta: float
    top_k: int
    keep_top_k: int


def detection_settings(node: Node) -> DetectionSettings:
    """The settings of a DetectionOutput or SSDDetectionOutput. Raises `OpError` as Caffe's set-up does."""
    own = node.op == "caffe.SSDDetectionOutput"
    param = params(node, "ssddetectionoutput_param" if own else "detection_output_param")
    if not own and not param.HasField("num_classes"):
        raise OpError("needs `num_classes`")
    nms = param if own else param.nms_param
    threshold = nms.iou_threshold if own else nms.nms_threshold
    confidence = float(param.confidence_threshold)
    if not own and not param.HasField("confidence_threshold"):
        confidence = -float(np.finfo(np.float32).max)
    if param.num_classes < 1:
        raise OpError(f"`num_classes` must be positive, not {param.num_classes}")
    if not threshold >= 0:
        raise OpError(f"`{'iou_threshold' if own else 'nms_threshold'}` must not be negative, not {threshold:g}")
    if not 0 < nms.eta <= 1:
        raise OpError(f"`eta` must lie in (0, 1], not {nms.eta:g}")
    if param.code_type not in (CORNER, CENTER_SIZE, CORNER_SIZE):
        raise OpError(f"`code_type` must be 1 (CORNER), 2 (CENTER_SIZE) or 3 (CORNER_SIZE), not {param.code_type}")
    return DetectionSettings(
        classes=int(param.num_classes),
        shared=bool(param.share_location),
        background=int(param.background_label_id),
        code=int(param.code_type),
        in_target=bool(param.variance_encoded_in_target),
        confidence=confidence,
        nms_threshold=float(threshold),
        eta=float(nms.eta),
        top_k=int(nms.top_k) if own or nms.HasField("top_k") else -1,
        keep_top_k=int(param.keep_top_k),
    )


def _infer_detection(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    settings = detection_settings(node)
    loc, conf, prior = shapes
    if len(prior) < 3 or prior[1] != 2 or prior[2] % 4 or math.prod(prior[:1] + prior[3:]) != 1:
        raise OpError(f"the third input must be the boxes of PriorBox, 1x2x(4 * boxes), not {describe(prior)}")
    if not loc or not conf or loc[0] != conf[0]:
        raise OpError(f"predicted boxes and scores are of other batches: {describe(loc)} and {describe(conf)}")
    priors, sets = prior[2] // 4, 1 if settings.shared else settings.classes
    for name, shape, each in (("boxes", loc, sets * 4), ("scores", conf, settings.classes)):
        if math.prod(shape[1:]) != priors * each:
            raise OpError(
                f"{priors} priors of {settings.classes} classes need {priors * each} numbers a sample for the "
                f"predicted {name}, which have the shape {describe(shape)}"
            )
    most = (settings.classes - (0 <= settings.background < settings.classes)) * _limited(settings.top_k, priors)
    rows = loc[0] * max(_limited(settings.keep_top_k, most), 1)
    counts: tuple[Shape, ...] = ((loc[0],),) if len(node.outputs) > 1 else ()
    return (*counts, (1, 1, rows, _ROW))


def _limited(limit: int, count: int) -> int:
    return min(limit, count) if limit > -1 else count


@dataclass(frozen=True)
class ProposalSettings:
    """The numbers of a Proposal; lengths are in pixels of the image."""

    stride: float
    centre: float
    """Where the centre of the first cell's anchors is."""
    anchors: tuple[tuple[float, float], ...]
    """(width, height) of each anchor of a cell, in order."""
    min_size: float
    before: int
    """At most so many boxes go into the suppression …"""
    after: int
    """… and so many come out."""
    threshold: float
    counts: bool
    """Whether the second top is the number of boxes instead of their scores."""


def proposal_settings(node: Node) -> ProposalSettings:
    """The settings of a Proposal. Raises `OpError` where a number is out of range."""
    param = params(node, "proposal_param")
    ratios = _lengths("ratio", tuple(param.ratio)) or (0.5, 1.0, 2.0)
    base = _lengths("base_size", (param.base_size,))[0]
    scales = _lengths("scale", tuple(param.scale)) or tuple(base * times for times in (8.0, 16.0, 32.0))
    alias = param.HasField("nms_thresh")
    threshold = param.nms_thresh if alias else param.iou_threshold
    if alias and param.HasField("iou_threshold"):
        raise OpError("`iou_threshold` and `nms_thresh` are one parameter; give one of them")
    if not threshold >= 0:
        raise OpError(f"`{'nms_thresh' if alias else 'iou_threshold'}` must not be negative, not {threshold:g}")
    for name in ("pre_nms_topn", "post_nms_topn"):
        if getattr(param, name) < 1:
            raise OpError(f"`{name}` must be positive, not {getattr(param, name)}")
    if not 0 <= param.min_size < math.inf:
        raise OpError(f"`min_size` must not be negative, not {param.min_size:g}")
    return ProposalSettings(
        stride=_lengths("feat_stride", (param.feat_stride,))[0],
        centre=(base - 1) / 2,
        anchors=tuple(_anchor(ratio, scale) for ratio in ratios for scale in scales),
        min_size=float(param.min_size),
        before=int(param.pre_nms_topn),
        after=int(param.post_nms_topn),
        threshold=float(threshold),
        counts=bool(param.output_actual_rois_num),
    )


def _anchor(ratio: float, scale: float) -> tuple[float, float]:
    """(width, height) in whole pixels of an anchor as large as a square of side `scale`, height / width = `ratio`."""
    side = math.sqrt(ratio)
    return float(math.floor(scale / side + 0.5)), float(math.floor(scale * side + 0.5))


def _lengths(name: str, values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) > _MOST_VALUES:
        raise OpError(f"`{name}` is given {len(values)} times; at most {_MOST_VALUES} are taken")
    for value in values:
        if not 1e-6 <= value <= 1e6:
            raise OpError(f"`{name}` must lie between 1e-6 and 1e6, not be {value:g}")
    return tuple(float(value) for value in values)


def _infer_proposal(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    settings = proposal_settings(node)
    scores, deltas, info = shapes
    need_rank(scores, 4)
    need_rank(deltas, 4)
    anchors = len(settings.anchors)
    for name, shape, each in (("scores", scores, 2), ("boxes", deltas, 4)):
        if shape[1] != each * anchors:
            raise OpError(f"{anchors} anchors need {each * anchors} channels of {name}, not {shape[1]}")
    if (scores[0], *scores[2:]) != (deltas[0], *deltas[2:]):
        raise OpError(f"scores and boxes are of other sizes: {describe(scores)} and {describe(deltas)}")
    if len(info) < 2 or info[0] not in (1, scores[0]) or math.prod(info[1:]) < 3:
        raise OpError(f"the third input must be height, width and scale of the image or images, not {describe(info)}")
    each_image = min(settings.after, settings.before, anchors * scores[2] * scores[3])
    rows = scores[0] * each_image
    second: Shape = (scores[0],) if settings.counts else (rows,)
    return ((rows, 5), second)[: len(node.outputs)]


def _infer_nms(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    boxes, scores = shapes
    param = params(node, "nms_param")
    if len(boxes) < 2 or boxes[-1] != 4 or math.prod(boxes[:-2]) != 1:
        raise OpError(f"the first input must be boxes, Nx4 or 1xNx4, not {describe(boxes)}")
    if math.prod(scores) != boxes[-2]:
        raise OpError(f"{boxes[-2]} boxes need as many scores; the second input has the shape {describe(scores)}")
    if not param.nms_threshold >= 0:
        raise OpError(f"`nms_threshold` must not be negative, not {param.nms_threshold:g}")
    kept = _limited(param.top_k, boxes[-2])
    return ((*boxes[:-2], kept, 4), (kept,))[: len(node.outputs)]


_DETECTION_NOTES = (
    "rows (image, class, score, xmin, ymin, xmax, ymax) by image, class, then falling score; equal scores stay in "
    "the order of the priors; where the batch holds no box at all, one row (image, -1, -1, -1, -1, -1, -1) an image; "
    "a score that is not a number counts as none"
)

DETECTION_OPS: tuple[OpDef, ...] = (
    PRIOR_BOX,
    OpDef(
        name="caffe.DetectionOutput",
        summary="SSD's last layer: predictions to boxes, the best of those that overlap",
        inputs=Arity(3, 3),
        outputs=ONE,
        infer=_infer_detection,
        parameter="detection_output_param",
        notes=_DETECTION_NOTES + "; nothing is drawn or written to files",
    ),
    OpDef(
        name="caffe.SSDDetectionOutput",
        summary="DetectionOutput under ATC's name, with ATC's parameters",
        inputs=Arity(3, 3),
        outputs=Arity(1, 2),
        infer=_infer_detection,
        parameter="ssddetectionoutput_param",
        notes=_DETECTION_NOTES + "; of two tops the first is the number of boxes of each image",
    ),
    OpDef(
        name="caffe.Proposal",
        summary="the regions of Faster R-CNN: anchors moved by predictions, the best of those that overlap",
        inputs=Arity(3, 3),
        outputs=Arity(1, 2),
        infer=_infer_proposal,
        parameter="proposal_param",
        notes=(
            "tops: rows (image, xmin, ymin, xmax, ymax) and their scores (with `output_actual_rois_num` the number of "
            "regions of each image); a `scale` is the side of an anchor in pixels, not a multiple of `base_size`; "
            "without any, sides are 8, 16 and 32 times `base_size` and ratios 0.5, 1 and 2; a region smaller than "
            "`min_size` gets the score 0; defaults are ATC's"
        ),
    ),
    OpDef(
        name="caffe.Nms",
        summary="the best of boxes that overlap",
        inputs=Arity(2, 2),
        outputs=Arity(1, 2),
        infer=_infer_nms,
        parameter="nms_param",
        quantizable=Quantizable(on_by_default=True, data_inputs=lambda node: (1,)),
        notes=(
            "no public definition; chosen: inputs boxes (xmin, ymin, xmax, ymax), Nx4 or 1xNx4, and N scores; boxes "
            "whose score is above `score_threshold` are taken by falling score, each unless it overlaps a taken one "
            "by more than `nms_threshold`, up to `top_k`; tops: the boxes, and their scores; only the scores are "
            "quantized, as box coordinates do not fit 8 bits"
        ),
    ),
    *REGION_OPS,
)
