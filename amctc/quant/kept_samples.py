"""Samples that an observer keeps as they are, as two arrays that do not depend on the order in which they came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.quant.state_parts import plus_zero


def in_one_order(raw: list[tuple[NDArray[np.float32], int]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Samples and strides as all values (n,) and a table (groups, 3) of stride, rows and values of a row.

    Where each value counts, they are one sorted row; other samples are sorted as a whole.
    """
    single = [samples.reshape(-1) for samples, stride in raw if stride == 1]
    groups: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    if single:
        together = np.sort(np.concatenate(single))
        groups[1, together.size] = [plus_zero(together)]
    for samples, stride in raw:
        if stride > 1:
            groups.setdefault((stride, samples.shape[1]), []).extend(plus_zero(samples))
    rows = [row for key in sorted(groups) for row in sorted(groups[key], key=lambda row: row.tobytes())]
    table = [(stride, len(groups[stride, length]), length) for stride, length in sorted(groups)]
    values = np.concatenate(rows) if rows else np.zeros(0, np.float32)
    return values, np.array(table, np.int64).reshape(-1, 3)


def out_of_one_order(values: NDArray[np.float32], table: NDArray[np.int64]) -> list[tuple[NDArray[np.float32], int]]:
    """The inverse. `ValueError` for a table that does not fit the values."""
    if table.shape[1] != 3 or (table.size and (table.min() < 1 or table.max() > max(values.size, 1 << 31))):
        raise ValueError("`raw_rows` is no table of samples")
    raw: list[tuple[NDArray[np.float32], int]] = []
    place = 0
    for stride, rows, length in table.tolist():
        end = place + rows * length
        if end > values.size:
            break
        raw.append((values[place:end].reshape(rows, length), stride))
        place = end
    if place != values.size or len(raw) != len(table):
        raise ValueError("`raw_rows` does not fit `raw_values`")
    return raw
