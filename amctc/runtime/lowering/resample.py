"""Bilinear resampling with Caffe's own float32 coordinates.

ONNX's Resize computes its coordinates in another order, which on long axes moves results by more than
a float32 layer may differ; here they are constants, computed as Caffe does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.resample import Grid, Sampling, samplings
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule

Neighbours: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.float32]]"


def lower_resample(low: Lowering, node: Node) -> None:
    """A Slice where the image is cropped, then along width and height two Gathers and their weighted sum."""
    shape = low.shape(node.inputs[0])
    current = low.name(node.inputs[0])
    axes = dict(enumerate(samplings(node, shape), start=2))
    for axis, sampling in axes.items():
        if sampling.size != shape[axis]:
            current = _cropped(low, current, axis, sampling)
    # Caffe sums along the width first.
    for axis, sampling in reversed(axes.items()):
        if sampling.out != sampling.size:
            current = _resampled(low, node, current, axis, sampling)
    low.emit("Identity", [current], low.name(node.output))


def _cropped(low: Lowering, source: str, axis: int, sampling: Sampling) -> str:
    numbers = {"starts": sampling.first, "ends": sampling.first + sampling.size, "axes": axis}
    return low.emit("Slice", [source, *(low.constant(np.array([n], np.int64), hint) for hint, n in numbers.items())])


def _resampled(low: Lowering, node: Node, source: str, axis: int, sampling: Sampling) -> str:
    spread = (1,) * (3 - axis)
    terms: list[str] = []
    for places, weights in neighbours(sampling):
        taken = low.emit("Gather", [source, low.constant(places, f"{node.name}.places")], axis=axis)
        factor = low.constant(weights.reshape(-1, *spread), f"{node.name}.weights")
        terms.append(low.emit("Mul", [taken, factor]))
    return low.emit("Add", terms)


def neighbours(sampling: Sampling) -> tuple[Neighbours, Neighbours]:
    """For every output element of an axis the element before and the one behind it, each with its weight."""
    last = sampling.size - 1
    position = _positions(sampling)
    before = np.minimum(position.astype(np.int64), last)
    behind = before + 1
    fraction = (position - before.astype(np.float32)).astype(np.float32)
    rest = (np.float32(1) - fraction).astype(np.float32)
    if sampling.grid is Grid.ORIGIN:
        fraction = np.where(behind > last, np.float32(0), fraction)
    return (before, rest), (np.minimum(behind, last), fraction)


def _positions(sampling: Sampling) -> NDArray[np.float32]:
    size, out = np.float32(sampling.size), np.float32(sampling.out)
    steps = np.arange(sampling.out, dtype=np.float32)
    half = np.float32(0.5)
    if sampling.grid is Grid.CORNERS:
        rate = (size - np.float32(1)) / (out - np.float32(1)) if sampling.out > 1 else np.float32(0)
        return np.asarray(steps * rate, np.float32)
    if sampling.grid is Grid.HALF_PIXEL:
        return np.asarray(np.maximum((steps + half) * (size / out) - half, np.float32(0)), np.float32)
    return np.asarray(steps * (size / out), np.float32)


RESAMPLE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Interp": lower_resample,
        "caffe.BilinearInterpolate": lower_resample,
        "caffe.Resize": lower_resample,
    }
)
