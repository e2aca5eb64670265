"""Tables of levels and the codes into them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from amctc.quant.snq_tables import ordered_tables, quantize_with_tables, tables_and_codes

ROWS = arrays(
    np.int8, st.tuples(st.integers(1, 4), st.integers(0, 40)), elements=st.sampled_from([-128, -5, 0, 1, 127])
)


@given(values=ROWS)
@settings(max_examples=100, deadline=None)
def test_the_codes_of_a_table_give_the_values_back(values: NDArray[np.int8]) -> None:
    found = tables_and_codes(values)
    assert found is not None
    table, codes = found
    assert table.shape == (len(values), 16)
    assert (np.diff(table.astype(int), axis=1) >= 0).all()
    assert np.array_equal(np.take_along_axis(table, codes.astype(np.intp), axis=1), values)
    assert np.array_equal(ordered_tables(table), table)


def test_a_row_of_seventeen_values_has_no_table() -> None:
    assert tables_and_codes(np.arange(17, dtype=np.int8)[np.newaxis]) is None
    assert tables_and_codes(np.arange(16, dtype=np.int8)[np.newaxis]) is not None


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
