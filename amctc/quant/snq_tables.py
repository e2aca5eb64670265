"""Tables of levels, and weights put onto them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.quant.snq_codes import CODE_BITS
from amctc.quant.snq_optimal import HALF_STEPS, half_step_cells
from amctc.quant.snq_runs import GRID_HIGH, GRID_LOW

LEVELS: Final = 1 << CODE_BITS

_AT_ONCE: Final = 1 << 20
"""So many weights, or half steps of tables, are looked at together."""


def ordered_tables(levels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Levels `[rows, 16]` in any order as tables: ascending, each level once, the last one repeated to fill the row."""
    ordered = np.sort(levels, axis=1)
    last = ordered[:, -1:].copy()
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = GRID_HIGH
    ordered.sort(axis=1)
    return np.minimum(ordered, last)


def nearest_codes(steps: NDArray[np.float64], table: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The code of the entry nearest to each weight `[rows, n]`, in steps of the grid.

    `table` is int8 `[rows, 16]` as `ordered_tables` gives it. A weight in the middle of two entries takes the upper
    one. Middles are multiples of one half, so the half step that a weight lies in decides.
    """
    wide = table.astype(np.intp)
    middles = np.zeros((len(table), HALF_STEPS), dtype=np.uint8)
    new = wide[:, 1:] > wide[:, :-1]
    row, entry = np.nonzero(new)
    middles[row, wide[row, entry] + wide[row, entry + 1] - 2 * GRID_LOW] = 1
    codes = np.cumsum(middles, axis=1, dtype=np.uint8)
    return np.take_along_axis(codes, half_step_cells(steps), axis=1)


def quantize_with_tables(
    rows: NDArray[np.float32], scale: NDArray[np.float32], table: NDArray[np.int8]
) -> NDArray[np.int8]:
    """The levels nearest to the weights `[channels, n]`, as int8 of the same shape.

    `scale` float32 is `[channels]` or `[1]`; `table` has a row of 16 levels for each scale (see `ordered_tables`). What
    is needed besides the result does not grow with the weights.
    """
    groups = rows.reshape(len(scale), -1)
    values = np.empty(groups.shape, dtype=np.int8)
    many = max(1, _AT_ONCE // HALF_STEPS)
    for top in range(0, len(groups), many):
        part = slice(top, top + many)
        along = scale[part, np.newaxis].astype(np.float64)
        wide = max(1, _AT_ONCE // len(along))
        for left in range(0, groups.shape[1], wide):
            block = part, slice(left, left + wide)
            codes = nearest_codes(groups[block] / along, table[part])
            values[block] = np.take_along_axis(table[part], codes.astype(np.intp), axis=1)
    return values.reshape(rows.shape)
