"""Convolution, DepthwiseConv and Deconvolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.blobs import axis_of, need_equal
from amctc.dialects.caffe.params import params, with_params
from amctc.dialects.caffe.spatial import Windows, windows_of
from amctc.dialects.channels import by_channels, by_channels_transposed
from amctc.dialects.op import Arity, Linear, LinearChannels, OpDef, OpError, Quantizable, Window
from amctc.dialects.sums import sums_dtype
from amctc.ir import Node
from amctc.ir.node import Shape

PARAMETER = "convolution_param"


@dataclass(frozen=True)
class ConvGeometry(Windows):
    """The numbers of one convolution."""

    channels: int
    outputs: int
    group: int
    bias: bool


def conv_geometry(node: Node, shape: Shape) -> ConvGeometry:
    """The geometry of a Convolution, DepthwiseConv or Deconvolution of an input of that shape.

    Raises `OpError` for everything Caffe's set-up of these layers refuses.
    """
    param = params(node, PARAMETER)
    windows = windows_of(param, shape)
    channels, outputs = shape[windows.axis], int(param.num_output)
    group = _group(node, param, channels)
    if outputs < 1:
        raise OpError("`num_output` must be given and positive")
    if channels % group:
        raise OpError(f"`group` {group} does not divide the {channels} channels of the input")
    if outputs % group:
        raise OpError(f"`group` {group} does not divide `num_output` {outputs}")
    return ConvGeometry(**vars(windows), channels=channels, outputs=outputs, group=group, bias=bool(param.bias_term))


def _group(node: Node, param: Any, channels: int) -> int:
    if node.op == "caffe.DepthwiseConv" and not param.HasField("group"):
        return max(channels, 1)
    if param.group < 1:
        raise OpError("`group` must be positive")
    return int(param.group)


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_equal(shapes)
    _need_a_top_each(node, shapes)
    g = conv_geometry(node, shapes[0])
    shape = (*shapes[0][: g.axis], g.outputs, *g.counts(shapes[0]))
    return (shape,) * len(node.outputs)


def _infer_transposed(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_equal(shapes)
    _need_a_top_each(node, shapes)
    g = conv_geometry(node, shapes[0])
    out: list[int] = []
    for size, extent, stride, pad in zip(shapes[0][g.axis + 1 :], g.extent, g.stride, g.pad, strict=True):
        length = stride * (size - 1) + extent - 2 * pad
        if length < 1:
            raise OpError(f"a padding of {pad} leaves nothing of an axis of {size}")
        out.append(length)
    shape = (*shapes[0][: g.axis], g.outputs, *out)
    return (shape,) * len(node.outputs)


def _need_a_top_each(node: Node, shapes: tuple[Shape, ...]) -> None:
    if len(node.outputs) != len(shapes):
        raise OpError(f"needs a top for every bottom: {len(shapes)} bottoms, {len(node.outputs)} tops")


def _weight_shapes(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    g = conv_geometry(node, shapes[0])
    weight = (g.outputs, g.channels // g.group, *g.kernel)
    return {"weight": weight, "bias": (g.outputs,)} if g.bias else {"weight": weight}


def _transposed_weight_shapes(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    g = conv_geometry(node, shapes[0])
    weight = (g.channels, g.outputs // g.group, *g.kernel)
    return {"weight": weight, "bias": (g.outputs,)} if g.bias else {"weight": weight}


def _out_channels(node: Node) -> int:
    return int(params(node, PARAMETER).num_output)


def _channel_axis(node: Node, shape: Shape) -> int:
    return axis_of(params(node, PARAMETER).axis, len(shape))


def _rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight.reshape(weight.shape[0], -1)


def _from_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return rows.reshape(node.weights["weight"].shape)


def _transposed_rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """[Cin, Cout/g, k...] as [Cout, Cin/g * k...]."""
    group = int(params(node, PARAMETER).group)
    inputs, outputs = weight.shape[0] // group, weight.shape[1]
    grouped = weight.reshape(group, inputs, outputs, -1)
    return grouped.transpose(0, 2, 1, 3).reshape(group * outputs, -1)


def _from_transposed_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    shape = node.weights["weight"].shape
    group = int(params(node, PARAMETER).group)
    grouped = rows.reshape(group, shape[1], shape[0] // group, -1)
    return np.ascontiguousarray(grouped.transpose(0, 2, 1, 3)).reshape(shape)


def _group_of(node: Node) -> int:
    """The groups of a layer whose input has a shape, or that says them."""
    param = params(node, PARAMETER)
    shape = node.inputs[0].shape
    return _group(node, param, 0 if shape is None else shape[axis_of(param.axis, len(shape))])


def _split(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return by_channels(weight, _group_of(node))


def _split_transposed(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return by_channels_transposed(weight, _group_of(node))


def _join(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return parts.reshape(node.weights["weight"].shape)


def _join_transposed(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(parts.transpose(0, 2, 1, 3)).reshape(node.weights["weight"].shape)


def _enable_bias(node: Node) -> None:
    with_params(node, PARAMETER, bias_term=True)


def _window(node: Node, shape: Shape) -> Window:
    g = conv_geometry(node, shape)
    pads = tuple((pad, pad) for pad in g.pad)
    return Window(g.axis, g.channels, g.outputs, g.group, g.kernel, g.stride, g.dilation, pads)


_CHANNELS = LinearChannels(_split, _join, _channel_axis)
_CHANNELS_TRANSPOSED = LinearChannels(_split_transposed, _join_transposed, _channel_axis)
_LINEAR = Linear(
    "weight", "bias", _out_channels, _channel_axis, _rows, _from_rows, _enable_bias, _window, channels=_CHANNELS
)
_TRANSPOSED = Linear(
    "weight",
    "bias",
    _out_channels,
    _channel_axis,
    _transposed_rows,
    _from_transposed_rows,
    _enable_bias,
    _window,
    transposed=True,
    channels=_CHANNELS_TRANSPOSED,
)
_QUANTIZABLE = Quantizable(on_by_default=True, weights=True, channel_wise=True)
_MANY = Arity(1, None)

CONVOLUTION_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Convolution",
        summary="correlation with learned filters over any number of spatial axes, in groups",
        inputs=_MANY,
        outputs=_MANY,
        infer=_infer,
        weight_shapes=_weight_shapes,
        parameter=PARAMETER,
        quantizable=_QUANTIZABLE,
        linear=_LINEAR,
        dtypes=sums_dtype,
        notes=(
            "weight [Cout, Cin/g, k...]; sizes are rounded down; a filter that does not fit the padded "
            "input is refused; several bottoms share the weights and have a top each"
        ),
    ),
    OpDef(
        name="caffe.DepthwiseConv",
        summary="a Convolution whose `group` is the number of channels unless it is given",
        inputs=_MANY,
        outputs=_MANY,
        infer=_infer,
        weight_shapes=_weight_shapes,
        parameter=PARAMETER,
        quantizable=_QUANTIZABLE,
        linear=_LINEAR,
        dtypes=sums_dtype,
        notes="not a layer of BVLC Caffe; takes the parameters of Convolution",
    ),
    OpDef(
        name="caffe.Deconvolution",
        summary="the transpose of Convolution: spreads each input element over a filter's extent",
        inputs=_MANY,
        outputs=_MANY,
        infer=_infer_transposed,
        weight_shapes=_transposed_weight_shapes,
        parameter=PARAMETER,
        quantizable=_QUANTIZABLE,
        linear=_TRANSPOSED,
        dtypes=sums_dtype,
        notes="weight [Cin, Cout/g, k...]: the first axis is the input's channels",
    ),
)
