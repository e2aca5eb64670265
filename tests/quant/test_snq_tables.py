"""Tables of levels, and weights put onto them."""

from __future__ import annotations

import numpy as np
import pytest

from amctc.quant import snq_tables
from amctc.quant.snq_tables import ordered_tables, quantize_with_tables


def test_levels_are_put_in_order_and_the_last_one_fills_the_table() -> None:
    levels = np.array([[5, -128, 5, 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], np.int8)
    assert ordered_tables(levels).tolist() == [[-128, 0, 5] + [127] * 13]


@pytest.mark.parametrize("one_scale", [True, False])
def test_weights_take_the_level_that_is_nearest(one_scale: bool) -> None:
    random = np.random.default_rng(0)
    count = 1 if one_scale else 5
    rows = random.normal(size=(5, 200)).astype(np.float32)
    scale = random.uniform(0.01, 0.05, count).astype(np.float32)
    table = ordered_tables(random.integers(-128, 128, (count, 16)).astype(np.int8))
    found = quantize_with_tables(rows, scale, table)
    assert found.shape == rows.shape
    levels = np.broadcast_to(table, (5, 16))
    factor = np.broadcast_to(scale[:, np.newaxis], (5, 1)).astype(np.float64)
    distance = np.abs(rows / factor - found)
    nearest = np.abs(rows[:, :, np.newaxis] / factor[:, :, np.newaxis] - levels[:, np.newaxis]).min(axis=2)
    assert np.allclose(distance, nearest, atol=1e-12)


@pytest.mark.parametrize("one_scale", [True, False])
def test_weights_in_blocks_take_the_same_levels(one_scale: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    count = 1 if one_scale else 7
    rows = random.normal(size=(7, 300)).astype(np.float32)
    scale = random.uniform(0.01, 0.05, count).astype(np.float32)
    table = ordered_tables(random.integers(-128, 128, (count, 16)).astype(np.int8))
    whole = quantize_with_tables(rows, scale, table)
    # Two tables at a time, and then one with a few weights.
    monkeypatch.setattr(snq_tables, "_AT_ONCE", 1024 + 7)
    assert np.array_equal(quantize_with_tables(rows, scale, table), whole)
    monkeypatch.setattr(snq_tables, "_AT_ONCE", 64)
    assert np.array_equal(quantize_with_tables(rows, scale, table), whole)
