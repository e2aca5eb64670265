"""Detection: pooling of regions, PriorBox, SSDDetectionOutput, Proposal."""

from __future__ import annotations

from amctc.dialects.ge.fields import flag, floats, number, whole
from amctc.dialects.ge.filled import lies_nhwc, need_nchw, value_number
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef
from amctc.ir import Node
from amctc.text.plain import Plain

_COUNTS = "int32"


def _inputs(node: Node, *slots: str) -> tuple[int, ...]:
    return tuple(value_number(node, slot) for slot in slots)


def _roi_pooling(node: Node) -> Kin:
    param: dict[str, Plain] = {
        "pooled_h": whole(node, "pooled_h"),
        "pooled_w": whole(node, "pooled_w"),
        "spatial_scale_h": number(node, "spatial_scale_h"),
        "spatial_scale_w": number(node, "spatial_scale_w"),
    }
    return Kin("caffe.ROIPooling", {"roi_pooling_param": param}, {}, _inputs(node, "x", "rois"), moved=lies_nhwc(node))


def _psroi_pooling(node: Node) -> Kin:
    param: dict[str, Plain] = {
        "output_dim": whole(node, "output_dim"),
        "group_size": whole(node, "group_size"),
        "spatial_scale": number(node, "spatial_scale"),
    }
    return Kin(
        "caffe.PSROIPooling", {"psroi_pooling_param": param}, {}, _inputs(node, "x", "rois"), moved=lies_nhwc(node)
    )


def _roi_align(node: Node) -> Kin:
    """`sample_num` 0: as many samples as a bin has pixels."""
    param: dict[str, Plain] = {
        "pooled_h": whole(node, "pooled_height"),
        "pooled_w": whole(node, "pooled_width"),
        "spatial_scale": number(node, "spatial_scale"),
        "sampling_ratio": whole(node, "sample_num"),
        "roi_end_mode": whole(node, "roi_end_mode"),
    }
    inputs = _inputs(node, "features", "rois")
    return Kin("caffe.ROIAlign", {"roi_align_param": param}, {}, inputs, moved=lies_nhwc(node))


def _prior_box(node: Node) -> Kin:
    """Sizes and steps of 0 are those of the image."""
    need_nchw(node)
    param: dict[str, Plain] = {
        "min_size": floats(node, "min_size"),
        "max_size": floats(node, "max_size"),
        "aspect_ratio": floats(node, "aspect_ratio"),
        "flip": flag(node, "flip"),
        "clip": flag(node, "clip"),
        "offset": number(node, "offset"),
        "variance": floats(node, "variance"),
    }
    sizes = {name: whole(node, name) for name in ("img_h", "img_w")}
    steps = {name: number(node, name) for name in ("step_h", "step_w")}
    for pair in (sizes, steps):
        if any(pair.values()):
            param |= pair
    return Kin("caffe.PriorBox", {"prior_box_param": param}, {}, _inputs(node, "x", "img"))


def _ssd_detection_output(node: Node) -> Kin:
    if len(node.outputs) != 2:
        raise NoKin("cannot be run: it must have two outputs")
    param: dict[str, Plain] = {
        **{
            name: whole(node, name)
            for name in ("num_classes", "background_label_id", "top_k", "code_type", "keep_top_k")
        },
        **{name: number(node, name) for name in ("iou_threshold", "eta", "confidence_threshold")},
        **{name: flag(node, name) for name in ("share_location", "variance_encoded_in_target")},
    }
    inputs = _inputs(node, "bbox_delta", "score", "anchors")
    return Kin(
        "caffe.SSDDetectionOutput",
        {"ssddetectionoutput_param": param},
        {},
        inputs,
        outputs=(0, 1),
        dtypes={0: _COUNTS},
    )


def _proposal(node: Node) -> Kin:
    """The second output is the number of regions of each image, which Caffe's layer gives when asked."""
    need_nchw(node)
    param: dict[str, Plain] = {
        **{name: number(node, name) for name in ("feat_stride", "base_size", "min_size", "iou_threshold")},
        **{name: floats(node, name) for name in ("ratio", "scale")},
        **{name: whole(node, name) for name in ("pre_nms_topn", "post_nms_topn")},
        "output_actual_rois_num": True,
    }
    inputs = _inputs(node, "cls_prob", "bbox_delta", "im_info")
    outputs = tuple(range(min(len(node.outputs), 2)))
    return Kin("caffe.Proposal", {"proposal_param": param}, {}, inputs, outputs, dtypes={1: _COUNTS})


DETECTION_OPS: tuple[OpDef, ...] = (
    kin_row("ROIPooling", _roi_pooling, "caffe.ROIPooling"),
    kin_row("PSROIPooling", _psroi_pooling, "caffe.PSROIPooling"),
    kin_row("ROIAlign", _roi_align, "caffe.ROIAlign", notes="`sample_num` 0: as many as a bin has pixels"),
    kin_row("PriorBox", _prior_box, "caffe.PriorBox"),
    kin_row("SSDDetectionOutput", _ssd_detection_output, "caffe.SSDDetectionOutput", notes="outputs: counts, boxes"),
    kin_row("Proposal", _proposal, "caffe.Proposal", notes="a `scale` is the side of an anchor in pixels"),
)
