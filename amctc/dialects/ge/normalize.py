"""Normalization by what lies around: LRN, MVN, Normalize."""

from __future__ import annotations

from amctc.dialects.ge.fields import flag, number, whole, word
from amctc.dialects.ge.filled import constant, lies_nhwc
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.text.plain import Plain

REGIONS = ("ACROSS_CHANNELS", "WITHIN_CHANNEL")


def _lrn(node: Node) -> Kin:
    """The window is 2 * depth_radius + 1 long; Caffe's `alpha` is for all of it, this one for each element."""
    region, radius = word(node, "norm_region"), whole(node, "depth_radius")
    if region not in REGIONS:
        raise OpError(f"`norm_region` must be one of {', '.join(REGIONS)}, not `{region[:40]}`")
    size = 2 * radius + 1
    param: dict[str, Plain] = {
        "local_size": size,
        "alpha": number(node, "alpha") * size,
        "beta": number(node, "beta"),
        "k": number(node, "bias"),
        "norm_region": region,
    }
    return Kin("caffe.LRN", {"lrn_param": param}, moved=lies_nhwc(node))


def _mvn(node: Node) -> Kin:
    param: dict[str, Plain] = {
        "normalize_variance": flag(node, "normalize_variance"),
        "across_channels": flag(node, "across_channels"),
        "eps": number(node, "eps"),
    }
    return Kin("caffe.MVN", {"mvn_param": param}, moved=lies_nhwc(node))


def _normalize(node: Node) -> Kin:
    shared = flag(node, "channel_shared")
    param: dict[str, Plain] = {
        "across_spatial": flag(node, "across_spatial"),
        "channel_shared": shared,
        "eps": number(node, "eps"),
    }
    scale = constant(node, "x2")
    if shared and scale.size != 1:
        raise OpError(f"needs one number as its `x2` with `channel_shared`, not {scale.size}")
    shape: Shape = () if shared else (scale.size,)
    return Kin("caffe.Normalize", {"norm_param": param}, {"scale": scale.reshape(shape)}, moved=lies_nhwc(node))


NORMALIZE_OPS: tuple[OpDef, ...] = (
    kin_row("LRN", _lrn, "caffe.LRN", notes="`alpha` is that of one element: Caffe's divided by the window's length"),
    kin_row("MVN", _mvn, "caffe.MVN"),
    kin_row("Normalize", _normalize, "caffe.Normalize", notes="x2: one scale for all, or one for each channel"),
)
