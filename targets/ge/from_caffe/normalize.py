"""LRN, MVN, Normalize."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.params import params
from amctc.dialects.ge.normalize import REGIONS
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable
from amctc.text.plain import Plain


def _lrn(c: Crossing, node: Node) -> None:
    """GE's `alpha` is for each element of the window, Caffe's for all of them."""
    param = params(node, "lrn_param")
    size = int(param.local_size)
    attributes: dict[str, Plain] = {
        "depth_radius": (size - 1) // 2,
        "bias": float(param.k),
        "alpha": float(np.float32(param.alpha) / np.float32(size)),
        "beta": float(param.beta),
        "norm_region": REGIONS[param.norm_region],
    }
    c.map(node, "LRN", c.inputs(node), attributes)


def _mvn(c: Crossing, node: Node) -> None:
    param = params(node, "mvn_param")
    attributes: dict[str, Plain] = {
        "normalize_variance": bool(param.normalize_variance),
        "across_channels": bool(param.across_channels),
        "eps": float(param.eps),
    }
    c.map(node, "MVN", c.inputs(node), attributes)


def _normalize(c: Crossing, node: Node) -> None:
    param, scale = params(node, "norm_param"), node.weights.get("scale")
    if scale is None:
        raise Unsayable("has no weights")
    attributes: dict[str, Plain] = {
        "across_spatial": bool(param.across_spatial),
        "channel_shared": bool(param.channel_shared),
        "eps": float(param.eps),
    }
    c.map(node, "Normalize", [*c.inputs(node), scale.reshape(-1)], attributes)


NORMALIZE: Mapping[str, Rule] = MappingProxyType(
    {"caffe.LRN": _lrn, "caffe.MVN": _mvn, "caffe.Mvm": _mvn, "caffe.Normalize": _normalize}
)
