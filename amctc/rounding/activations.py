"""The activation behind a layer as a function of torch: the rounding is learned for what it lets through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.params import params
from amctc.dialects.kin import NoKin, kin_of
from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.op import OpError
from amctc.dialects.table import op_def
from amctc.dialects.traits import output_channel_axis
from amctc.ir import Node

Function: TypeAlias = Callable[[Tensor], Tensor]
"""Of [anything, channels, ...]."""


def activation_behind(node: Node) -> tuple[Node, Function] | None:
    """The only reader of a linear layer's output, where that is an activation that is known here, and its function."""
    if not node.graph.has_single_use(node.output):
        return None
    reader = node.graph.uses(node.output)[0].node
    function = function_of(reader, output_channel_axis(node)) if len(reader.inputs) == 1 else None
    return None if function is None else (reader, function)


def function_of(node: Node, axis: int | None) -> Function | None:
    """What an activation computes: ReLU, with a bound or leaky, PReLU, Sigmoid, Tanh, GELU; None for any other op.

    `axis` is that of the channels in its input, which the function has on axis 1; None where it is not known.
    """
    row = op_def(node)
    if not row.activation:
        return None
    if (bounds := row.clamps(node)) is not None:
        return _between(*bounds)
    if row.likeness is None:
        make = _FUNCTIONS.get(node.op)
        return None if make is None else make(node, axis)
    try:
        relation = kin_of(node)
    except (NoKin, OpError):
        return None
    shape = node.inputs[0].shape
    last = shape is not None and axis == len(shape) - 1
    return function_of(relation.node, 1 if relation.moved and last else axis)


def _between(low: float, high: float) -> Function | None:
    if (low, high) == (0, math.inf):
        return torch.relu
    return None if low > high else lambda x: x.clamp(low, high)


def _leaky(slope: float) -> Function:
    return lambda x: functional.leaky_relu(x, slope)


def _prelu(node: Node, axis: int | None) -> Function | None:
    """With one slope, or one for each channel."""
    slope, shape = node.weights.get("slope"), node.inputs[0].shape
    if slope is None:
        return None
    if slope.size > 1:
        if shape is None or axis is None or slope.ndim > len(shape):
            return None
        # Caffe's lie along axis 1, ONNX's as if the axes in front were written.
        along = 1 if node.dialect == "caffe" else len(shape) - slope.ndim + int(np.argmax(slope.shape))
        if along != axis or slope.size != shape[axis]:
            return None
    slopes = torch.from_numpy(slope.astype(np.float32).reshape(-1))
    return lambda x: functional.prelu(x, slopes)


def _gelu(node: Node, axis: int | None) -> Function:
    approximate = str(node_attribute(node, "approximate", "none"))
    return lambda x: functional.gelu(x, approximate=approximate)


_FUNCTIONS: Final[Mapping[str, Callable[[Node, int | None], Function | None]]] = MappingProxyType(
    {
        "caffe.ReLU": lambda node, axis: _leaky(float(params(node, "relu_param").negative_slope)),
        "caffe.PReLU": _prelu,
        "caffe.Sigmoid": lambda node, axis: torch.sigmoid,
        "caffe.TanH": lambda node, axis: torch.tanh,
        "onnx.LeakyRelu": lambda node, axis: _leaky(float(node_attribute(node, "alpha", 0.01))),
        "onnx.PRelu": _prelu,
        "onnx.Sigmoid": lambda node, axis: torch.sigmoid,
        "onnx.Tanh": lambda node, axis: torch.tanh,
        "onnx.Gelu": _gelu,
    }
)
