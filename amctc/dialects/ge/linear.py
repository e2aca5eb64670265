"""Convolutions, FullyConnection and products of matrices with constant weights: the linear ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.ge.fields import flag, ints, whole
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.ge.slots import BIAS, NCHW, NHWC, WEIGHT, data_format, filter_format
from amctc.dialects.kin import Kin, NoKin, kin_of, to_nchw
from amctc.dialects.onnx.operands import role_at
from amctc.dialects.op import Linear, LinearChannels, OpDef, OpError, Quantizable, Window
from amctc.dialects.traits import linear_trait
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

Weight: TypeAlias = NDArray[np.generic]

_FIRST_FACTOR = role_at("MatMul", 0)
_PRODUCTS = ("MatMul", "MatMulV2", "BatchMatMul", "BatchMatMulV2")
_MATRIX_RANK = 2

_FILTER_AXES: Mapping[str, tuple[int, ...]] = {NCHW: (0, 1, 2, 3), "HWCN": (3, 2, 0, 1), NHWC: (0, 3, 1, 2)}
"""The order of axes that makes [out, in, height, width] of a filter in each layout."""


# -- images ----------------------------------------------------------------------------------------


def _filter(node: Node, weight: Weight) -> Weight:
    """A filter as [out, in, height, width]; a view."""
    axes = _FILTER_AXES.get(filter_format(node))
    if axes is None or weight.ndim != len(axes):
        raise OpError(f"a filter of {weight.ndim} axes in the layout {filter_format(node)} is not known")
    return weight.transpose(axes)


def _from_filter(node: Node, weight: Weight) -> Weight:
    axes = _FILTER_AXES[filter_format(node)]
    return np.ascontiguousarray(weight.transpose(np.argsort(axes)))


def _depthwise_filter(node: Node, weight: Weight) -> Weight:
    """A filter of [multiplier, channels, height, width] as [channels * multiplier, 1, height, width]."""
    found = _filter(node, weight)
    return found.transpose(1, 0, 2, 3).reshape(-1, 1, *found.shape[2:])


def _from_depthwise_filter(node: Node, weight: Weight) -> Weight:
    channels = _filter(node, node.weights[WEIGHT]).shape[1]
    parts = weight.reshape(channels, -1, *weight.shape[2:])
    return _from_filter(node, parts.transpose(1, 0, 2, 3))


def _spatial(node: Node, name: str) -> tuple[int, int]:
    """The two numbers of an attribute that are for height and width: all of two, or the inner ones of four."""
    found = ints(node, name)
    if len(found) == 2:
        return found[0], found[1]
    if len(found) != 4:
        raise OpError(f"`{name}` must have 4 numbers, not {len(found)}")
    return (found[1], found[2]) if data_format(node) == NHWC else (found[2], found[3])


def _windows(node: Node) -> dict[str, Plain]:
    top, bottom, left, right = ints(node, "pads", 4)
    return {
        "strides": _spatial(node, "strides"),
        "dilations": _spatial(node, "dilations"),
        "pads": (top, left, bottom, right),
    }


def _operands(node: Node, weight: Callable[[Node, Weight], Weight]) -> dict[str, Array]:
    """The weight and the bias for the kin. Raises `NoKin` where one of them is data."""
    if len(node.inputs) != 1 or WEIGHT not in node.weights:
        raise NoKin("cannot be run: its weights are not constant")
    found: dict[str, Array] = {WEIGHT: _widened(weight(node, node.weights[WEIGHT]))}
    if BIAS in node.weights:
        found[BIAS] = _widened(node.weights[BIAS].reshape(-1))
    return found


def _widened(array: Array) -> Array:
    """Halves as float32, in which their products are summed."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _convolution(node: Node) -> Kin:
    weights = _operands(node, _filter)
    attrs = {**_windows(node), "group": whole(node, "groups")}
    return Kin("onnx.Conv", attrs, weights, moved=data_format(node) == NHWC)


def _depthwise(node: Node) -> Kin:
    weights = _operands(node, _depthwise_filter)
    channels = _filter(node, node.weights[WEIGHT]).shape[1]
    return Kin("onnx.Conv", {**_windows(node), "group": channels}, weights, moved=data_format(node) == NHWC)


def _transposed(node: Node) -> Kin:
    """`input_size` is what the output must have; zeros say nothing."""
    weights = _operands(node, _filter)
    attrs: dict[str, Plain] = {**_windows(node), "group": whole(node, "groups")}
    if node.type != "Deconvolution" and any(ints(node, "output_padding")):
        attrs["output_padding"] = _spatial(node, "output_padding")
    return Kin("onnx.ConvTranspose", attrs, weights, moved=data_format(node) == NHWC)


# -- matrices --------------------------------------------------------------------------------------


def _same(node: Node, weight: Weight) -> Weight:
    return weight


def _rows(node: Node, weight: Weight) -> Weight:
    """The weights of a FullyConnection as a matrix, one row for each output; with `transpose` one column."""
    count, transposed = whole(node, "num_output"), flag(node, "transpose")
    if count < 1 or weight.size % count or (transposed and weight.shape[1:] != (count,)):
        raise OpError(f"has weights of {list(weight.shape)}, which `num_output` {count} does not fit")
    return weight if transposed else weight.reshape(count, -1)


def _from_rows(node: Node, weight: Weight) -> Weight:
    return weight.reshape(node.weights[WEIGHT].shape)


def _full_connection(node: Node) -> Kin:
    weights = _operands(node, _rows)
    param: dict[str, Plain] = {
        "num_output": whole(node, "num_output"),
        "bias_term": BIAS in weights,
        "axis": whole(node, "axis"),
        "transpose": flag(node, "transpose"),
    }
    return Kin("caffe.InnerProduct", {"inner_product_param": param}, weights)


def _matrices(node: Node) -> Kin:
    if flag(node, "transpose_x1"):
        raise NoKin("cannot be run: `transpose_x1` is not supported")
    if len(node.inputs) == 2 and not node.weights:
        if flag(node, "transpose_x2"):
            return Kin("onnx.Gemm", {"transB": 1})
        return Kin("onnx.MatMul")
    attrs: dict[str, Plain] = {"transB": int(flag(node, "transpose_x2"))}
    return Kin("onnx.Gemm", attrs, _operands(node, _same))


def _batches(node: Node) -> Kin:
    if "x1" in node.weights and len(node.inputs) == 1 and not flag(node, "adj_x1") and not flag(node, "adj_x2"):
        return Kin("onnx.MatMul", {}, {_FIRST_FACTOR: node.weights["x1"]})
    if len(node.inputs) == 2 and not node.weights:
        param: dict[str, Plain] = {name: flag(node, name) for name in ("adj_x1", "adj_x2")}
        return Kin("caffe.BatchedMatMul", {"batch_matmul_param": param}) if any(param.values()) else Kin("onnx.MatMul")
    if flag(node, "adj_x1"):
        raise NoKin("cannot be run: `adj_x1` is not supported with constant weights")
    return Kin("onnx.MatMul", {}, _operands(node, _batch_matrix))


def _batch_matrix(node: Node, weight: Weight) -> Weight:
    return weight.swapaxes(-1, -2) if flag(node, "adj_x2") else weight


def _from_batch_matrix(node: Node, weight: Weight) -> Weight:
    return np.ascontiguousarray(weight.swapaxes(-1, -2)) if flag(node, "adj_x2") else weight


# -- rows ------------------------------------------------------------------------------------------


def _linear(
    to_kin: Callable[[Node, Weight], Weight],
    from_kin: Callable[[Node, Weight], Weight],
    *,
    windows: bool,
    transposed: bool = False,
) -> Linear:
    """The trait of an op whose kin is linear; its weights are brought to those of the kin and back."""

    def kin(node: Node) -> tuple[Node, Linear]:
        found = kin_of(node).node
        return found, linear_trait(found)

    def channel_axis(node: Node, shape: Shape) -> int:
        relation = kin_of(node)
        return len(shape) - 1 if relation.moved else linear_trait(relation.node).channel_axis(relation.node, shape)

    def by_output_channel(node: Node, weight: Weight) -> Weight:
        found, trait = kin(node)
        return trait.by_output_channel(found, to_kin(node, weight))

    def from_output_channel(node: Node, rows: Weight) -> Weight:
        found, trait = kin(node)
        return from_kin(node, trait.from_output_channel(found, rows))

    def out_channels(node: Node) -> int:
        found, trait = kin(node)
        return trait.out_channels(found)

    def window(node: Node, shape: Shape) -> Window:
        relation = kin_of(node, (shape,))
        trait = linear_trait(relation.node)
        if trait.window is None:
            raise ValueError(f"{node.op} has no windows")
        return trait.window(relation.node, to_nchw(shape) if relation.moved else shape)

    def split(node: Node, weight: Weight) -> Weight:
        found, trait = kin(node)
        return _channels(trait).split(found, to_kin(node, weight))

    def join(node: Node, parts: Weight) -> Weight:
        found, trait = kin(node)
        return from_kin(node, _channels(trait).join(found, parts))

    def input_axis(node: Node, shape: Shape) -> int:
        relation = kin_of(node)
        trait = linear_trait(relation.node)
        return len(shape) - 1 if relation.moved else _channels(trait).input_axis(relation.node, shape)

    return Linear(
        WEIGHT,
        BIAS,
        out_channels,
        channel_axis,
        by_output_channel,
        from_output_channel,
        _no_attribute,
        window if windows else None,
        transposed,
        LinearChannels(split, join, input_axis),
    )


def _channels(trait: Linear) -> LinearChannels:
    if trait.channels is None:
        raise ValueError("nothing is known of the channels")
    return trait.channels


def _no_attribute(node: Node) -> None:
    """A bias is there where its weight is; no attribute says so."""


def _is_linear(node: Node) -> bool:
    """Whether the weights of a node are constant, and those of a product one matrix."""
    if len(node.inputs) != 1 or WEIGHT not in node.weights or "x1" in node.weights:
        return False
    return node.type not in _PRODUCTS or node.weights[WEIGHT].ndim == _MATRIX_RANK


def _row(
    type: str,
    translate: Callable[[Node], Kin],
    kin: str,
    linear: Linear,
    notes: str,
    *,
    channel_wise: bool = True,
    fits: Callable[[Node], bool] = lambda node: True,
) -> OpDef:
    """`fits` says which nodes with constant weights may be quantized."""
    plain = kin_row(type, translate, kin, notes=notes)
    floating = replace(plain, linear=linear)
    quantized = Quantizable(on_by_default=True, weights=True, channel_wise=channel_wise)

    def variant(node: Node) -> OpDef | None:
        if not _is_linear(node):
            return plain
        return None if fits(node) else floating

    return replace(floating, quantizable=quantized, variant=variant)


def _is_dense(node: Node) -> bool:
    """Whether the elements under a filter lie side by side."""
    return node.attrs.get("dilations", (1, 1, 1, 1)) == (1, 1, 1, 1)


def _is_plain_product(node: Node) -> bool:
    """Whether a FullyConnection has its weights as they are, and takes all axes but the first as one."""
    return not node.attrs.get("transpose") and node.attrs.get("axis", 1) == 1


_IMAGE = _linear(_filter, _from_filter, windows=True)
_DEPTHWISE = _linear(_depthwise_filter, _from_depthwise_filter, windows=True)
_BACK = _linear(_filter, _from_filter, windows=True, transposed=True)
_FULL = _linear(_rows, _from_rows, windows=False)
_MATRIX = _linear(_same, _same, windows=False)
_BATCH = _linear(_batch_matrix, _from_batch_matrix, windows=False)

LINEAR_OPS: tuple[OpDef, ...] = (
    _row(
        "Conv2D",
        _convolution,
        "onnx.Conv",
        _IMAGE,
        "filter [Cout, Cin/g, kh, kw] in NCHW, [kh, kw, Cin/g, Cout] in HWCN",
    ),
    _row(
        "DepthwiseConv2D",
        _depthwise,
        "onnx.Conv",
        _DEPTHWISE,
        "filter [multiplier, C, kh, kw] in NCHW, [kh, kw, C, multiplier] in HWCN",
    ),
    *(
        _row(type, _transposed, "onnx.ConvTranspose", _BACK, "filter [Cin, Cout/g, kh, kw] in NCHW", fits=_is_dense)
        for type in ("Deconvolution", "Conv2DTransposeD", "Conv2DTranspose")
    ),
    _row(
        "FullyConnection",
        _full_connection,
        "caffe.InnerProduct",
        _FULL,
        "w [num_output, K]",
        channel_wise=False,
        fits=_is_plain_product,
    ),
    *(
        _row(type, _matrices, "onnx.Gemm", _MATRIX, "x2 [K, N], or [N, K] with transpose_x2", channel_wise=False)
        for type in ("MatMul", "MatMulV2")
    ),
    *(
        _row(type, _batches, "onnx.MatMul", _BATCH, "x2 [K, N], or [N, K] with adj_x2", channel_wise=False)
        for type in ("BatchMatMul", "BatchMatMulV2")
    ),
)
