"""MVN, Normalize, GroupNorm, LayerNormalization.

Written out in sums and products: ONNX Runtime's own kernels take the variance as the difference of two
means, which loses digits where the mean is large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.lowering.builder import Lowering, Rule, weight_of


def lower_mvn(low: Lowering, node: Node) -> None:
    """The input as [channels or items, elements], centred and divided by its deviation + eps."""
    param = params(node, "mvn_param")
    shape = low.shape(node.output)
    rows = shape[0] if param.across_channels else shape[0] * shape[1]
    found = _centred(low, node, rows)
    if param.normalize_variance:
        deviation = low.emit("Sqrt", [_mean_square(low, found)])
        found = low.emit("Div", [found, low.emit("Add", [deviation, low.scalar(param.eps, f"{node.name}.eps")])])
    low.reshape(found, shape, low.name(node.output))


def lower_normalize(low: Lowering, node: Node) -> None:
    """x / sqrt(sum of squares + eps) * scale, over an item or over axis 1."""
    param = params(node, "norm_param")
    shape = low.shape(node.output)
    source = low.name(node.inputs[0])
    axes = tuple(range(1, len(shape))) if param.across_spatial else (1,)
    total = low.emit("ReduceSumSquare", [source], axes=axes, keepdims=1)
    norm = low.emit("Sqrt", [low.emit("Add", [total, low.scalar(param.eps, f"{node.name}.eps")])])
    spread = (1, -1, *(1,) * (len(shape) - 2))
    scale = _weight(low, node, "scale", spread)
    low.emit("Mul", [low.emit("Div", [source, norm]), scale], low.name(node.output))


def lower_group_norm(low: Lowering, node: Node) -> None:
    """Each item's groups of channels, then scale and shift a channel."""
    param = params(node, "group_norm_param")
    shape = low.shape(node.output)
    found = _standardized(low, node, shape[0] * int(param.group_num), param.eps)
    _affine(low, node, low.reshape(found, shape), (1, -1, *(1,) * (len(shape) - 2)))


def lower_layer_norm(low: Lowering, node: Node) -> None:
    """The axes from `axis` on, then scale and shift an element."""
    param = params(node, "layer_norm_param")
    shape = low.shape(node.output)
    axis = axis_of(param.axis, len(shape))
    found = _standardized(low, node, math.prod(shape[:axis]), param.eps)
    if not param.affine:
        low.reshape(found, shape, low.name(node.output))
        return
    _affine(low, node, low.reshape(found, shape), shape[axis:])


def _affine(low: Lowering, node: Node, source: str, spread: Shape) -> None:
    scaled = low.emit("Mul", [source, _weight(low, node, "scale", spread)])
    low.emit("Add", [scaled, _weight(low, node, "shift", spread)], low.name(node.output))


def _weight(low: Lowering, node: Node, role: str, spread: Shape) -> str:
    array = weight_of(node, role).astype(np.float32, copy=False)
    return low.constant(array.reshape(spread), f"{node.name}.{role}")


def _standardized(low: Lowering, node: Node, rows: int, eps: float) -> str:
    """The input as [rows, elements], centred and divided by sqrt(variance + eps)."""
    centred = _centred(low, node, rows)
    variance = low.emit("Add", [_mean_square(low, centred), low.scalar(eps, f"{node.name}.eps")])
    return low.emit("Div", [centred, low.emit("Sqrt", [variance])])


def _centred(low: Lowering, node: Node, rows: int) -> str:
    elements = math.prod(low.shape(node.output)) // rows
    flat = low.reshape(low.name(node.inputs[0]), (rows, elements))
    return low.emit("Sub", [flat, low.emit("ReduceMean", [flat], axes=(1,), keepdims=1)])


def _mean_square(low: Lowering, source: str) -> str:
    return low.emit("ReduceMean", [low.emit("Mul", [source, source])], axes=(1,), keepdims=1)


NORMALIZE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.MVN": lower_mvn,
        "caffe.Mvm": lower_mvn,
        "caffe.Normalize": lower_normalize,
        "caffe.GroupNorm": lower_group_norm,
        "caffe.LayerNormalization": lower_layer_norm,
    }
)
