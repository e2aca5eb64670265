"""Multiplying weights that are integers already by a number for each output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.quant.grid import check_scale, guard_scale
from amctc.quant.snq_runs import GRID_HIGH, GRID_LOW
from amctc.quant.snq_tables import ordered_tables


@dataclass(frozen=True, eq=False)
class ScaledWeights:
    """Weights as int8 `[channels, n]`, float32 scales `[channels]` or `[1]`, and a row of int8 `[.., 16]` for each."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    table: NDArray[np.int8] | None = None


def times_channel_factors(weights: ScaledWeights, factors: NDArray[np.float64], layer_name: str = "") -> ScaledWeights:
    """The weights `factors[c] * scale[c] * values[c]`, still as integers.

    A factor goes into the scale, and its sign into the integers and the table. Where a channel vanishes, its integers
    are 0 and its scale 1, as ARQ has it. The scales of `weights` may be one for all. Raises `DiagnosticError` (AM410)
    for scales that become too large, and `ValueError` where -128 would be negated (see `has_opposites`).
    """
    values, count = weights.values, len(weights.values)
    exact = np.broadcast_to(weights.scale, count).astype(np.float64) * np.abs(factors)
    with np.errstate(over="ignore"):
        narrow = exact.astype(np.float32)
    scale = guard_scale(narrow)
    check_scale(scale, layer_name)
    kept = scale == narrow
    signs = np.where(kept, np.sign(factors), 0).astype(np.int16)[:, np.newaxis]
    table = None
    if weights.table is not None:
        whole = np.broadcast_to(weights.table, (count, weights.table.shape[1]))
        table = ordered_tables(_signed(whole, signs))
    return ScaledWeights(_signed(values, signs), scale, table)


def has_opposites(values: NDArray[np.int8], factors: NDArray[np.float64]) -> bool:
    """Whether the integers `[channels, n]` can be negated where a factor `[channels]` is negative: -128 cannot."""
    return not bool((values[factors < 0] == GRID_LOW).any())


def symmetric_scale(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales `[channels]` for weights `[channels, n]` on integers of -127 to 127, all of which have opposites."""
    return guard_scale(np.abs(rows).max(axis=1, initial=0) / np.float32(GRID_HIGH))


def _signed(values: NDArray[np.int8], signs: NDArray[np.int16]) -> NDArray[np.int8]:
    found: NDArray[np.int16] = values * signs
    if int(found.max(initial=0)) > GRID_HIGH:
        raise ValueError("-128 has no opposite in INT8")
    return found.astype(np.int8)
