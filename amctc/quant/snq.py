"""Non-uniform weights of 4 bits: each of a layer's or channel's at most 16 values is a code into a table of INT8.

The hardware multiplies INT8, so the values lie on the INT8 grid of the uniform scale (`amctc.quant.arq`), and a bias is
quantized with that scale as in the uniform case. Source: the AMCT guide for Caffe, non-uniform quantization; it says
that weights are clustered, and by which settings, but not how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.quant.snq_lloyd import SortedRows, cluster_rows, sort_rows
from amctc.quant.snq_optimal import HALF_STEPS, GridRows, grid_rows, optimal_grid_centres
from amctc.quant.snq_runs import GRID_HIGH, GRID_LOW
from amctc.quant.snq_settings import OPTIMAL, SnqSettings
from amctc.quant.snq_tables import LEVELS, ordered_tables

FloatArray = NDArray[np.float64]

_VALUES_AT_ONCE: Final = 1 << 20
"""So many numbers are clustered together: bounds the memory that many channels take."""


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
