"""Detection: pooling of regions, PriorBox, SSDDetectionOutput, Proposal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.detection import proposal_settings
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.prior_box import prior_boxes
from amctc.dialects.caffe.regions import pooling_scales
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.text.plain import Plain

_BASES = (8.0, 16.0, 32.0)
_RATIOS = (0.5, 1.0, 2.0)


def _roi_pooling(c: Crossing, node: Node) -> None:
    param = params(node, "roi_pooling_param")
    high, wide = pooling_scales(node)
    attributes: dict[str, Plain] = {
        "pooled_h": int(param.pooled_h),
        "pooled_w": int(param.pooled_w),
        "spatial_scale_h": high,
        "spatial_scale_w": wide,
    }
    c.map(node, "ROIPooling", c.inputs(node), attributes)


def _psroi_pooling(c: Crossing, node: Node) -> None:
    param = params(node, "psroi_pooling_param")
    attributes: dict[str, Plain] = {
        "output_dim": int(param.output_dim),
        "group_size": int(param.group_size),
        "spatial_scale": float(param.spatial_scale),
    }
    c.map(node, "PSROIPooling", c.inputs(node), attributes)


def _roi_align(c: Crossing, node: Node) -> None:
    """As many samples as a bin has pixels is 0 here, and any number below 1 in Caffe."""
    param = params(node, "roi_align_param")
    attributes: dict[str, Plain] = {
        "spatial_scale": float(param.spatial_scale),
        "pooled_height": int(param.pooled_h),
        "pooled_width": int(param.pooled_w),
        "sample_num": max(0, int(param.sampling_ratio)),
        "roi_end_mode": int(param.roi_end_mode),
    }
    c.map(node, "ROIAlign", c.inputs(node), attributes)


def _prior_box(c: Crossing, node: Node) -> None:
    """Sizes and steps that the layer leaves to its inputs are 0."""
    feature, image = (need_shape(value) for value in node.inputs)
    param, found = params(node, "prior_box_param"), prior_boxes(node, feature, image)
    sized = any(param.HasField(name) for name in ("img_size", "img_h", "img_w"))
    stepped = any(param.HasField(name) for name in ("step", "step_h", "step_w"))
    height, width = found.image if sized else (0, 0)
    step_h, step_w = found.step if stepped else (0.0, 0.0)
    attributes: dict[str, Plain] = {
        **{name: tuple(map(float, getattr(param, name))) for name in ("min_size", "max_size", "aspect_ratio")},
        "img_h": height,
        "img_w": width,
        "step_h": step_h,
        "step_w": step_w,
        "flip": bool(param.flip),
        "clip": bool(param.clip),
        "offset": float(param.offset),
        "variance": tuple(map(float, param.variance)) or (0.1,),
    }
    c.map(node, "PriorBox", c.inputs(node), attributes)


def _ssd_detection_output(c: Crossing, node: Node) -> None:
    """GE's op always gives the numbers of boxes, and the boxes; a single top of the layer is the boxes."""
    param = params(node, "ssddetectionoutput_param")
    attributes: dict[str, Plain] = {
        **{
            name: int(getattr(param, name))
            for name in ("num_classes", "background_label_id", "top_k", "code_type", "keep_top_k")
        },
        **{name: float(getattr(param, name)) for name in ("iou_threshold", "eta", "confidence_threshold")},
        **{name: bool(getattr(param, name)) for name in ("share_location", "variance_encoded_in_target")},
    }
    made = c.op(node, "SSDDetectionOutput", c.inputs(node), attributes, outputs=2)
    c.finish(node, *made.outputs[-len(node.outputs) :])


def _detection_output(c: Crossing, node: Node) -> None:
    raise Unsayable(
        "is SSD's or YOLO's layer, and Ascend's parser cannot tell which; write it as SSDDetectionOutput, with its "
        "parameters in `ssddetectionoutput_param`"
    )


def _proposal(c: Crossing, node: Node) -> None:
    settings, param = proposal_settings(node), params(node, "proposal_param")
    if len(node.outputs) > 1 and not settings.counts:
        raise Unsayable("gives the scores of its regions, and GE's Proposal their number; leave out the second top")
    attributes: dict[str, Plain] = {
        **{name: float(getattr(param, name)) for name in ("feat_stride", "base_size", "min_size")},
        "ratio": tuple(map(float, param.ratio)) or _RATIOS,
        "scale": tuple(map(float, param.scale)) or tuple(float(param.base_size) * times for times in _BASES),
        "pre_nms_topn": settings.before,
        "post_nms_topn": settings.after,
        "iou_threshold": settings.threshold,
        "output_actual_rois_num": settings.counts,
    }
    made = c.op(node, "Proposal", c.inputs(node), attributes, outputs=2)
    c.finish(node, *made.outputs[: len(node.outputs)])


DETECTION: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.ROIPooling": _roi_pooling,
        "caffe.PSROIPooling": _psroi_pooling,
        "caffe.ROIAlign": _roi_align,
        "caffe.PriorBox": _prior_box,
        "caffe.SSDDetectionOutput": _ssd_detection_output,
        "caffe.DetectionOutput": _detection_output,
        "caffe.Proposal": _proposal,
    }
)
