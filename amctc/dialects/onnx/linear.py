"""Conv, ConvTranspose, Gemm and MatMul with constant weights: the linear ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.channels import by_channels, by_channels_transposed
from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.onnx.generic import ONNX, generic_row
from amctc.dialects.onnx.inference import infer_node
from amctc.dialects.onnx.operands import role_at
from amctc.dialects.onnx.windows import conv_window, groups_of, transposed_window
from amctc.dialects.op import ONE, Arity, Linear, LinearChannels, OpDef, Quantizable, UnknownShape, Window
from amctc.dialects.sums import sums_dtype
from amctc.ir import Node
from amctc.ir.node import Shape

WEIGHT, BIAS = "weight", "bias"
_FLOAT = "float32"
_WEIGHT_TYPES = (np.dtype(np.float32), np.dtype(np.int8))
_BIAS_TYPES = (np.dtype(np.float32), np.dtype(np.int32))


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    # Where the data are integers already, the output has the shape that it has for floats.
    (found,) = infer_node(node, shapes, (_FLOAT,) * len(shapes), {WEIGHT: _FLOAT, BIAS: _FLOAT})
    if found.shape is None:
        raise UnknownShape
    return (found.shape,)


def _has_constant_weights(node: Node) -> bool:
    """Whether one value comes in, at the first position, and all else is constant; integers are quantized floats."""
    # Every look at a layer asks this: what costs least comes first, and numpy makes a type's name anew each time.
    weight, bias = node.weights.get(WEIGHT), node.weights.get(BIAS)
    if weight is None or weight.dtype not in _WEIGHT_TYPES or (bias is not None and bias.dtype not in _BIAS_TYPES):
        return False
    if len(node.outputs) != 1 or role_at(node.type, 0) in node.weights:
        return False
    inputs = node.inputs
    return len(inputs) == 1 and inputs[0].dtype in (_FLOAT, "int8", "int16")


def _fits_convolution(node: Node) -> bool:
    return _has_constant_weights(node) and node.weights[WEIGHT].ndim >= 3


def _fits_gemm(node: Node) -> bool:
    if not _has_constant_weights(node) or node.weights[WEIGHT].ndim != 2:
        return False
    if node_attribute(node, "transA", 0) or node_attribute(node, "alpha", 1.0) != 1:
        return False
    bias = node.weights.get(BIAS)
    if bias is None:
        return True
    return node_attribute(node, "beta", 1.0) == 1 and bias.shape == (_gemm_outputs(node),)


def _fits_matmul(node: Node) -> bool:
    return _has_constant_weights(node) and node.weights[WEIGHT].ndim == 2


def _none(node: Node) -> None:
    """A bias is there where its weight is; no attribute says so."""


def _first_axis(node: Node) -> int:
    return int(node.weights[WEIGHT].shape[0])


def _axis_one(node: Node, shape: Shape) -> int:
    return 1


def _last_axis(node: Node, shape: Shape) -> int:
    return len(shape) - 1


def _rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight.reshape(weight.shape[0], -1)


def _from_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return rows.reshape(node.weights[WEIGHT].shape)


def _transposed_outputs(node: Node) -> int:
    return int(node.weights[WEIGHT].shape[1]) * groups_of(node)


def _transposed_rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """[Cin, Cout/g, k...] as [Cout, Cin/g * k...]."""
    group = groups_of(node)
    grouped = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    return grouped.transpose(0, 2, 1, 3).reshape(group * weight.shape[1], -1)


def _from_transposed_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    shape, group = node.weights[WEIGHT].shape, groups_of(node)
    grouped = rows.reshape(group, shape[1], shape[0] // group, -1)
    return np.ascontiguousarray(grouped.transpose(0, 2, 1, 3)).reshape(shape)


def _trans_b(node: Node) -> bool:
    return bool(node_attribute(node, "transB", 0))


def _gemm_outputs(node: Node) -> int:
    return int(node.weights[WEIGHT].shape[0 if _trans_b(node) else 1])


def _gemm_rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight if _trans_b(node) else weight.T


def _from_gemm_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return rows if _trans_b(node) else np.ascontiguousarray(rows.T)


def _matmul_outputs(node: Node) -> int:
    return int(node.weights[WEIGHT].shape[1])


def _matmul_rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight.T


def _from_matmul_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(rows.T)


def _transposed_window(node: Node, shape: Shape) -> Window:
    (out,) = _infer(node, (shape,))
    return transposed_window(node, shape, out)


def _conv_channels(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return by_channels(weight, groups_of(node))


def _from_conv_channels(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return parts.reshape(node.weights[WEIGHT].shape)


def _transposed_channels(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return by_channels_transposed(weight, groups_of(node))


def _from_transposed_channels(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(parts.transpose(0, 2, 1, 3)).reshape(node.weights[WEIGHT].shape)


def _gemm_channels(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return _gemm_rows(node, weight)[np.newaxis, :, :, np.newaxis]


def _from_gemm_channels(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return _from_gemm_rows(node, parts[0, :, :, 0])


def _matmul_channels(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight.T[np.newaxis, :, :, np.newaxis]


def _from_matmul_channels(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(parts[0, :, :, 0].T)


_CONV = Linear(
    WEIGHT,
    BIAS,
    _first_axis,
    _axis_one,
    _rows,
    _from_rows,
    _none,
    conv_window,
    channels=LinearChannels(_conv_channels, _from_conv_channels, _axis_one),
)
_TRANSPOSED = Linear(
    WEIGHT,
    BIAS,
    _transposed_outputs,
    _axis_one,
    _transposed_rows,
    _from_transposed_rows,
    _none,
    _transposed_window,
    transposed=True,
    channels=LinearChannels(_transposed_channels, _from_transposed_channels, _axis_one),
)
_GEMM = Linear(
    WEIGHT,
    BIAS,
    _gemm_outputs,
    _axis_one,
    _gemm_rows,
    _from_gemm_rows,
    _none,
    channels=LinearChannels(_gemm_channels, _from_gemm_channels, _axis_one),
)
_MATMUL = Linear(
    WEIGHT,
    BIAS,
    _matmul_outputs,
    _last_axis,
    _matmul_rows,
    _from_matmul_rows,
    _none,
    channels=LinearChannels(_matmul_channels, _from_matmul_channels, _last_axis),
)


def _convolution_aliases(node: Node) -> tuple[str, ...]:
    weight = node.weights.get(WEIGHT)
    return () if weight is None else (f"{node.type}{weight.ndim - 2}d",)


def _row(
    type: str,
    summary: str,
    linear: Linear,
    fits: Callable[[Node], bool],
    otherwise: OpDef,
    aliases: Callable[[Node], tuple[str, ...]],
    notes: str,
    channel_wise: bool = True,
) -> OpDef:
    return OpDef(
        name=f"{ONNX}.{type}",
        summary=summary,
        inputs=ONE,
        outputs=ONE,
        infer=_infer,
        quantizable=Quantizable(on_by_default=True, weights=True, channel_wise=channel_wise),
        linear=linear,
        dtypes=sums_dtype,
        variant=lambda node: None if fits(node) else otherwise,
        aliases=aliases,
        notes=notes,
    )


_PRODUCT = replace(
    generic_row(f"{ONNX}.MatMul"), inputs=Arity(2, 2), outputs=ONE, quantizable=Quantizable(on_by_default=False)
)
"""A MatMul of two values."""


def _matmul_otherwise(node: Node) -> OpDef | None:
    if _fits_matmul(node):
        return None
    floats = len(node.inputs) == 2 and all(value.dtype == _FLOAT for value in node.inputs)
    return _PRODUCT if floats else generic_row(node.op)


LINEAR_OPS: tuple[OpDef, ...] = (
    _row(
        "Conv",
        "correlation with learned filters over any number of spatial axes, in groups",
        _CONV,
        _fits_convolution,
        generic_row(f"{ONNX}.Conv"),
        _convolution_aliases,
        "weight [Cout, Cin/g, k...]; passes through in float where its weights are not constant float32",
    ),
    _row(
        "ConvTranspose",
        "the transpose of Conv: spreads each input element over a filter's extent",
        _TRANSPOSED,
        _fits_convolution,
        generic_row(f"{ONNX}.ConvTranspose"),
        _convolution_aliases,
        "weight [Cin, Cout/g, k...]: the first axis is the input's channels",
    ),
    _row(
        "Gemm",
        "a matrix of weights times each row of the data, plus a bias",
        _GEMM,
        _fits_gemm,
        generic_row(f"{ONNX}.Gemm"),
        lambda node: ("Linear",),
        "weight [K, N], or [N, K] with transB; quantized with transA 0, alpha 1, beta 1 and a bias of N numbers",
    ),
    replace(
        _row(
            "MatMul",
            "a matrix of weights times the last axis of the data, or the product of two values",
            _MATMUL,
            _fits_matmul,
            _PRODUCT,
            lambda node: ("Linear",) if WEIGHT in node.weights else (),
            "weight [K, N], the second operand; a bias that follows may be taken in. Of two values both are data, "
            "and not quantized by default",
        ),
        variant=_matmul_otherwise,
    ),
)
