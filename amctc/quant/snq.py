"""Non-uniform weights of 4 bits: each of a layer's or channel's at most 16 values is a code into a table of INT8.

The hardware multiplies INT8, so the values lie on the INT8 grid of the uniform scale (`amctc.quant.arq`), and a bias is
quantized with that scale as in the uniform case. Source: the AMCT guide for Caffe, non-uniform quantization; it says
that weights are clustered, and by which settings, but not how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from amctc.quant.arq import checked_weights, weight_params
from amctc.quant.snq_lloyd import D2SAMPLING, GAUSSIAN, UNIFORM, SortedRows, cluster_rows, sort_rows
from amctc.quant.snq_optimal import HALF_STEPS, GridRows, grid_rows, optimal_grid_centres
from amctc.quant.snq_runs import GRID_HIGH, GRID_LOW
from amctc.quant.snq_tables import LEVELS, nearest_codes, ordered_tables

FloatArray = NDArray[np.float64]

OPTIMAL: Final = "optimal"
INIT_ALGOS: Final = (UNIFORM, GAUSSIAN, D2SAMPLING, OPTIMAL)
"""What `SnqSettings.init_algo` may be; the last one is ours."""

_Number = TypeVar("_Number", bound=np.generic)

_VALUES_AT_ONCE: Final = 1 << 20
"""So many numbers are clustered together: bounds the memory that many channels take."""


@dataclass(frozen=True)
class SnqSettings:
    """How the weights of a layer are clustered; the ranges are the policy's to check.

    The iteration ends when no centre moves by `min_distance` steps of the INT8 grid, or after `max_iteration` steps.
    `init_algo` says where it starts (`snq_lloyd.first_centres`); `optimal` does not iterate, but finds the best of all
    tables (`snq_optimal.optimal_grid_centres`).
    """

    max_iteration: int = 1000
    min_distance: float = 1e-10
    init_algo: str = UNIFORM

    def __post_init__(self) -> None:
        if self.init_algo not in INIT_ALGOS:
            raise ValueError(f"init_algo is one of {', '.join(INIT_ALGOS)}, not {self.init_algo}")
        if self.max_iteration < 1 or not self.min_distance >= 0:
            raise ValueError("max_iteration is at least 1 and min_distance not negative")


@dataclass(frozen=True, eq=False)
class SnqResult:
    """Weights as codes into tables.

    `values` int8, of the weights' shape, are the tables' entries at `codes` (uint8, 0 to 15, the same shape). `table`
    is int8 `[channels, 16]`, or `[1, 16]` for one table, ascending; an entry that is not needed repeats the last one.
    `scale` is float32 `[channels]` or `[1]`. `errors` float64, as `scale`: the squared error of `scale * values`
    against the float weights, summed over each table's weights.
    """

    values: NDArray[np.int8]
    codes: NDArray[np.uint8]
    table: NDArray[np.int8]
    scale: NDArray[np.float32]
    errors: FloatArray

    @property
    def error(self) -> float:
        """The squared error of the whole layer."""
        return float(self.errors.sum())


def quantize_weights_snq(
    weights: NDArray[np.floating],
    *,
    axis: int | None,
    settings: SnqSettings,
    layer_name: str = "",
    scale: NDArray[np.float32] | None = None,
) -> SnqResult:
    """Cluster weights to 16 values, with one table and scale for each index of `axis`, or one if it is None.

    `scale` float32 `[channels]` or `[1]` is the grid; by default ARQ's.

    Each weight takes the table's entry nearest to it. With `init_algo` `optimal` the squared error is the least that 16
    entries of the INT8 grid can have; else the centres are found as real numbers and rounded (half to even). Weights
    of at most 16 distinct values keep the error of the INT8 grid alone. Diagnostics as in `arq.quantize_weights`: AM410
    scale, AM412 NaN or Inf, AM413 no weights.
    """
    source = checked_weights(weights, layer_name)
    if scale is None:
        scale = weight_params(source, axis=axis, layer_name=layer_name).scale.reshape(-1)
    channels_first = source[np.newaxis] if axis is None else np.moveaxis(source, axis, 0)
    rows = channels_first.reshape(len(scale), -1)
    (table,) = find_tables([GridWeights(rows, scale)], settings)
    codes = np.empty(rows.shape, dtype=np.uint8)
    values = np.empty(rows.shape, dtype=np.int8)
    errors = np.zeros(len(rows))
    for part in _parts(len(rows), rows.shape[1]):
        along = scale[part, np.newaxis].astype(np.float64)
        for left in range(0, rows.shape[1], _VALUES_AT_ONCE):
            block = part, slice(left, left + _VALUES_AT_ONCE)
            steps = rows[block] / along
            codes[block] = nearest_codes(steps, table[part])
            values[block] = np.take_along_axis(table[part], codes[block].astype(np.intp), axis=1)
            steps -= values[block]
            errors[part] += np.einsum("rn,rn->r", steps, steps)
    errors *= scale.astype(np.float64) ** 2
    shape = channels_first.shape
    return SnqResult(
        np.ascontiguousarray(_back(values.reshape(shape), axis)),
        np.ascontiguousarray(_back(codes.reshape(shape), axis)),
        table,
        scale,
        errors,
    )


@dataclass(frozen=True, eq=False)
class GridWeights:
    """Weights of one layer, finite float32 `[tables, n]`, and the scale of each row, float32 `[tables]`."""

    rows: NDArray[np.float32]
    scale: NDArray[np.float32]

    def steps(self, part: slice) -> FloatArray:
        """Some of the rows in steps of their grids."""
        return np.asarray(self.rows[part] / self.scale[part, np.newaxis].astype(np.float64))


def find_tables(layers: Sequence[GridWeights], settings: SnqSettings) -> list[NDArray[np.int8]]:
    """The 16 levels of each row, int8 `[tables, 16]` for each layer; see `find_centres`."""
    found = (np.clip(np.rint(centres), GRID_LOW, GRID_HIGH) for centres in find_centres(layers, settings))
    return [ordered_tables(centres.astype(np.int8)) for centres in found]


def find_centres(layers: Sequence[GridWeights], settings: SnqSettings) -> list[FloatArray]:
    """The centres of each row's 16 clusters in steps of its grid, float64 `[tables, 16]` for each layer, ascending.

    With `optimal` they are on the grid. Rows of many layers are clustered together, those of about the same length: it
    is the number of steps that costs time, not how many rows take them. No row depends on those beside it.
    """
    centres = [np.empty((len(layer.rows), LEVELS)) for layer in layers]
    for batch in _batches(layers):
        found = _centres([layers[index].steps(part) for index, part in batch], settings)
        start = 0
        for index, part in batch:
            some = centres[index][part]
            some[:] = found[start : start + len(some)]
            start += len(some)
    return centres


def _batches(layers: Sequence[GridWeights]) -> Iterator[list[tuple[int, slice]]]:
    """Parts of the layers, each with the layer's index, in batches of a bounded size; short rows come first."""
    order = sorted(range(len(layers)), key=lambda index: layers[index].rows.shape[1])
    batch: list[tuple[int, slice]] = []
    rows = 0
    for index in order:
        count, width = layers[index].rows.shape
        for part in _parts(count, width):
            more = part.stop - part.start
            if batch and (rows + more) * max(width, HALF_STEPS) > _VALUES_AT_ONCE:
                yield batch
                batch, rows = [], 0
            batch.append((index, part))
            rows += more
    if batch:
        yield batch


def _parts(rows: int, width: int) -> Iterator[slice]:
    many = max(1, _VALUES_AT_ONCE // max(width, HALF_STEPS))
    for start in range(0, rows, many):
        yield slice(start, min(start + many, rows))


def _centres(parts: Sequence[FloatArray], settings: SnqSettings) -> FloatArray:
    """Centres of the rows of all parts, in steps of the grid, `[rows, 16]`, ascending."""
    if settings.init_algo == OPTIMAL:
        return optimal_grid_centres(GridRows.joined([grid_rows(steps) for steps in parts]), LEVELS)
    rows = SortedRows.joined([sort_rows(steps) for steps in parts])
    return cluster_rows(rows, settings.init_algo, LEVELS, settings.max_iteration, settings.min_distance)


def _back(rows: NDArray[_Number], axis: int | None) -> NDArray[_Number]:
    return rows[0] if axis is None else np.moveaxis(rows, 0, axis)
