"""BatchNorm: normalizes each channel, by running statistics or by those of its own input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.become import become_scale
from amctc.dialects.caffe.blobs import describe
from amctc.dialects.caffe.params import params, with_params
from amctc.dialects.op import ONE, Affine, BatchStatistics, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.quant.batch_statistics import RunningStatistics, updated_statistics

Coefficients: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]] | str"

_FIELD = "batch_norm_param"


@dataclass(frozen=True)
class Statistics:
    """What a BatchNorm normalizes with: float64 [C] each; `eps` is the float32 of the schema."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    eps: float

    @property
    def inverse_deviation(self) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1.0 / np.sqrt(self.variance + self.eps))


def uses_batch_statistics(node: Node) -> bool:
    """Whether a BatchNorm takes mean and variance from its own input, in the phase that its graph was read for."""
    return takes_batch_statistics(node, str(node.attrs.get("phase", "TEST")))


def takes_batch_statistics(node: Node, phase: str) -> bool:
    """Whether a BatchNorm takes mean and variance from its own input: if told to, or else in phase TRAIN."""
    param = params(node, _FIELD)
    return not param.use_global_stats if param.HasField("use_global_stats") else phase == "TRAIN"


def statistics(node: Node) -> Statistics | str:
    """The stored statistics divided by their factor (a factor of 0 makes both 0), or why there are none."""
    if uses_batch_statistics(node):
        return "it normalizes with the statistics of each batch (phase TRAIN, or `use_global_stats: false`)"
    if not {"mean", "variance", "factor"} <= node.weights.keys():
        return "it has no weights"
    factor = float(node.weights["factor"].reshape(-1)[0])
    scale = 0.0 if factor == 0 else 1.0 / factor
    mean = node.weights["mean"].astype(np.float64).reshape(-1) * scale
    variance = node.weights["variance"].astype(np.float64).reshape(-1) * scale
    return Statistics(mean, variance, float(params(node, _FIELD).eps))


def _infer_batch_norm(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if len(shapes[0]) < 2:
        raise OpError(f"takes a blob of two axes or more, this one is {describe(shapes[0])}")
    return (shapes[0],)


def _batch_norm_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    channels = (shapes[0][1],)
    return {"mean": channels, "variance": channels, "factor": (1,)}


def _batch_norm_coefficients(node: Node, channels: int) -> Coefficients:
    found = statistics(node)
    if isinstance(found, str):
        return found
    if found.mean.size != channels:
        return f"it has {found.mean.size} channels, not {channels}"
    a = found.inverse_deviation
    if not np.isfinite(a).all():
        return "a variance is negative, NaN or infinite"
    return a, -found.mean * a


def _batch_norm_changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    found = _batch_norm_coefficients(node, shapes[0][1])
    return not isinstance(found, str) and bool((found[0] == 1).all() and (found[1] == 0).all())


def _use_batch_statistics(node: Node) -> None:
    with_params(node, _FIELD, use_global_stats=False)


def _written_fraction(node: Node) -> float | None:
    param = params(node, _FIELD)
    return float(param.moving_average_fraction) if param.HasField("moving_average_fraction") else None


def _updated(node: Node, x: NDArray[np.float32], fraction: float) -> Mapping[str, NDArray[np.float32]]:
    sizes = {"mean": x.shape[1:2], "variance": x.shape[1:2], "factor": (1,)}
    stored = {role: node.weights.get(role, np.zeros(size, np.float32)) for role, size in sizes.items()}
    flat = {role: array.astype(np.float32, copy=False).reshape(-1) for role, array in stored.items()}
    found = updated_statistics(RunningStatistics(**flat), x, fraction)
    after = {"mean": found.mean, "variance": found.variance, "factor": found.factor}
    return {role: array.reshape(stored[role].shape) for role, array in after.items()}


BATCH_NORM_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.BatchNorm",
        summary="y = (x - mean) / sqrt(variance + eps), one mean and variance for each channel of axis 1",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_batch_norm,
        weight_shapes=_batch_norm_weights,
        parameter=_FIELD,
        quantizable=Quantizable(on_by_default=False),
        statistics=BatchStatistics(uses_batch_statistics, _use_batch_statistics, _written_fraction, _updated),
        affine=Affine(_batch_norm_coefficients, become_scale),
        changes_nothing=_batch_norm_changes_nothing,
        notes=(
            "the stored mean and variance are divided by the third blob, and are 0 if that is 0; with "
            "`use_global_stats: false`, or in phase TRAIN unless it is true, the batch's own (biased) statistics "
            "are used; running a model leaves the stored ones as they are, only the stand-in for pycaffe renews them "
            "with every pass, as Caffe does"
        ),
    ),
)
