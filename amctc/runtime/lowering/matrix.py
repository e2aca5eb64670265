"""Products of blobs, SPP and Im2col; the rules of resampling too."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from amctc.dialects.caffe.matrix import transposed_factors
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.pooling import MAX, PoolGeometry
from amctc.dialects.caffe.pyramid import pyramid_levels
from amctc.dialects.caffe.spatial import windows_of
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.empty import unless_empty
from amctc.runtime.lowering.pooling import average_correction, end_padding
from amctc.runtime.lowering.resample import RESAMPLE_RULES


def lower_matmul(low: Lowering, node: Node) -> None:
    """MatMul, each transposed input by a Transpose."""
    names = [
        _transposed(low, low.name(value), len(low.shape(value))) if flag else low.name(value)
        for value, flag in zip(node.inputs, transposed_factors(node), strict=True)
    ]
    low.emit("MatMul", names, low.name(node.output))


def _transposed(low: Lowering, source: str, rank: int) -> str:
    return low.emit("Transpose", [source], perm=(*range(rank - 2), rank - 1, rank - 2))


def lower_gemm(low: Lowering, node: Node) -> None:
    """Gemm; a product over nothing is 0, behind which ONNX Runtime forgets `beta`."""
    param = params(node, "gemm_param")
    names, output = low.inputs(node), low.name(node.output)
    if math.prod(low.shape(node.inputs[0])) == 0:
        zero = low.constant(np.zeros(low.shape(node.output), np.float32), f"{node.name}.zero")
        terms = [low.emit("Mul", [name, low.scalar(param.beta, f"{node.name}.beta")]) for name in names[2:]]
        low.emit("Sum", [zero, *terms], output)
        return
    low.emit(
        "Gemm",
        names,
        output,
        alpha=float(param.alpha),
        beta=float(param.beta),
        transA=int(param.transpose_a),
        transB=int(param.transpose_b),
    )


def lower_spp(low: Lowering, node: Node) -> None:
    """A pooling for each level, flattened and joined where there are several."""
    shape = low.shape(node.inputs[0])
    levels = pyramid_levels(node, shape)
    pooled = [_pool_level(low, node, level) for level in levels]
    if len(levels) == 1:
        low.emit("Identity", pooled, low.name(node.output))
        return
    flat = [
        low.reshape(name, (shape[0], shape[1] * math.prod(level.out)))
        for name, level in zip(pooled, levels, strict=True)
    ]
    low.emit("Concat", flat, low.name(node.output), axis=1)


def _pool_level(low: Lowering, node: Node, level: PoolGeometry) -> str:
    source = low.name(node.inputs[0])
    pads = (*level.pad, *end_padding(level))
    if level.method == MAX:
        return low.emit("MaxPool", [source], kernel_shape=level.kernel, strides=level.stride, pads=pads)
    mean = low.emit(
        "AveragePool", [source], kernel_shape=level.kernel, strides=level.stride, pads=pads, count_include_pad=1
    )
    return low.emit("Mul", [mean, low.constant(average_correction(level), f"{node.name}.correction")])


def lower_im2col(low: Lowering, node: Node) -> None:
    """For each spatial axis a Gather by [kernel, out] indices; then the kernels' axes go to the channels.

    What lies in the padding is read from one element of 0 behind the end of each axis.
    """
    shape = low.shape(node.inputs[0])
    windows = windows_of(params(node, "convolution_param"), shape)
    out = windows.counts(shape)
    spatial = shape[windows.axis + 1 :]
    rank = len(spatial)
    current = low.reshape(low.name(node.inputs[0]), (math.prod(shape[: windows.axis]), shape[windows.axis], *spatial))
    pads = low.constant(np.array([*(0,) * (rank + 4), *(1,) * rank], np.int64), f"{node.name}.pads")
    current = low.emit("Pad", [current, pads])
    # From the last axis on, because a Gather makes two axes of one.
    for axis in reversed(range(rank)):
        tap = np.arange(windows.kernel[axis], dtype=np.int64)[:, None] * windows.dilation[axis]
        places = tap + np.arange(out[axis], dtype=np.int64) * windows.stride[axis] - windows.pad[axis]
        places[(places < 0) | (places >= spatial[axis])] = spatial[axis]
        current = low.emit("Gather", [current, low.constant(places, f"{node.name}.places")], axis=axis + 2)
    taps, outs = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
    columns = low.emit("Transpose", [current], perm=(0, 1, *taps, *outs))
    low.reshape(columns, low.shape(node.output), low.name(node.output))


MATRIX_RULES: Mapping[str, Rule] = unless_empty(
    {
        "caffe.MatMul": lower_matmul,
        "caffe.BatchedMatMul": lower_matmul,
        "caffe.Gemm": lower_gemm,
        "caffe.SPP": lower_spp,
        "caffe.Im2col": lower_im2col,
        **RESAMPLE_RULES,
    }
)
