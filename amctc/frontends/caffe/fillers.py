"""What a layer's weights are before any file has been loaded: the fillers that are not random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Node
from amctc.ir.node import Shape

MOST_NUMBERS = 1 << 26
"""A blob that only a filler would make: its size comes from the prototxt alone."""

_BOTH = {"weight": ("weight_filler", 0.0), "bias": ("bias_filler", 0.0)}
_FILLERS: Mapping[str, tuple[str, Mapping[str, tuple[str, float]]]] = MappingProxyType(
    {
        "Convolution": ("convolution_param", _BOTH),
        "DepthwiseConv": ("convolution_param", _BOTH),
        "Deconvolution": ("convolution_param", _BOTH),
        "InnerProduct": ("inner_product_param", _BOTH),
        "Embed": ("embed_param", _BOTH),
        "Scale": ("scale_param", {"scale": ("filler", 1.0), "bias": ("bias_filler", 0.0)}),
        "Bias": ("bias_param", {"bias": ("filler", 0.0)}),
        "PReLU": ("prelu_param", {"slope": ("filler", 0.25)}),
        "Normalize": ("norm_param", {"scale": ("scale_filler", 1.0)}),
    }
)
"""Layer type -> its parameters, and for each weight its filler there and the constant where there is none."""
_ZERO = ("BatchNorm", "Parameter")
"""Layers whose weights begin as zeros, without a filler."""


def filled(node: Node, role: str, shape: Shape) -> NDArray[np.float32] | None:
    """The weight as Caffe's filler makes it: constant or bilinear; None where it would be random or too large."""
    if math.prod(shape) > MOST_NUMBERS:
        return None
    if node.type in _ZERO:
        return np.zeros(shape, np.float32)
    field, roles = _FILLERS.get(node.type, ("", {}))
    if role not in roles:
        return None
    name, default = roles[role]
    own = node.attrs.get(field)
    filler = own.get(name) if isinstance(own, dict) else None
    if not isinstance(filler, dict):
        return np.full(shape, default, np.float32)
    kind, value = filler.get("type", "constant"), filler.get("value", 0.0)
    if kind == "constant" and isinstance(value, int | float):
        return np.full(shape, value, np.float32)
    return _bilinear(shape) if kind == "bilinear" else None


def _bilinear(shape: Shape) -> NDArray[np.float32] | None:
    """The kernel of a deconvolution that enlarges by bilinear interpolation; it is square, or there is none."""
    if len(shape) != 4 or shape[2] != shape[3] or shape[3] == 0:
        return None
    factor = math.ceil(shape[3] / 2)
    centre = np.float32((2 * factor - 1 - factor % 2) / (2 * factor))
    ramp = np.float32(1) - np.abs(np.arange(shape[3], dtype=np.float32) / np.float32(factor) - centre)
    return np.broadcast_to(np.outer(ramp, ramp).astype(np.float32), shape).copy()
