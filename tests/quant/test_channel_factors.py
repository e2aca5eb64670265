"""Integers times a number for each channel stay integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.quant.channel_factors import ScaledWeights, has_opposites, symmetric_scale, times_channel_factors
from amctc.quant.snq_tables import ordered_tables


@given(seed=st.integers(0, 1000), one_scale=st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_weights_are_multiplied(seed: int, one_scale: bool) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(-127, 128, (5, 9)).astype(np.int8)
    scale = random.uniform(0.001, 1, 1 if one_scale else 5).astype(np.float32)
    factors = random.normal(size=5) * random.choice([0, 1], 5, p=[0.2, 0.8])
    found = times_channel_factors(ScaledWeights(values, scale), factors)
    wanted = values * scale.reshape(-1, 1).astype(np.float64) * factors[:, np.newaxis]
    assert np.allclose(found.values * found.scale[:, np.newaxis].astype(np.float64), wanted, rtol=1e-6, atol=0)
    assert found.scale.shape == (5,)
    assert found.table is None
    assert (np.abs(found.values[factors != 0]) == np.abs(values[factors != 0])).all()


def test_tables_hold_the_integers_that_come_of_it() -> None:
    table = ordered_tables(np.array([[-3, 5, 127] + [0] * 13, [1, 2, -126] + [2] * 13, [4] * 16], np.int8))
    values = np.array([[-3, 127, 5, 0], [1, 2, -126, 1], [4, 4, 4, 4]], np.int8)
    found = times_channel_factors(ScaledWeights(values, np.ones(3, np.float32), table), np.array([-2.0, 0.5, 0.0]))
    assert found.table is not None
    assert found.table.tolist() == [[-127, -5, 0] + [3] * 13, [-126, 1] + [2] * 14, [0] * 16]
    assert found.values.tolist() == [[3, -127, -5, 0], [1, 2, -126, 1], [0, 0, 0, 0]]
    assert found.scale.tolist() == [2.0, 0.5, 1.0]


def test_a_channel_that_vanishes_has_zeros_and_the_scale_one() -> None:
    values = np.full((2, 3), 127, np.int8)
    found = times_channel_factors(ScaledWeights(values, np.array([1e-6, 1], np.float32)), np.array([1e-3, 1.0]))
    assert found.values.tolist() == [[0, 0, 0], [127, 127, 127]]
    assert found.scale.tolist() == [1.0, 1.0]


def test_a_scale_that_becomes_too_large_is_refused() -> None:
    with pytest.raises(DiagnosticError) as refusal:
        times_channel_factors(
            ScaledWeights(np.ones((1, 1), np.int8), np.array([1e6], np.float32)), np.array([1e6]), "conv1"
        )
    assert refusal.value.diagnostics[0].code == "AM410"
    assert "conv1" in refusal.value.diagnostics[0].message


def test_minus_128_has_no_opposite() -> None:
    values = np.array([[-128, 5], [-127, 5]], np.int8)
    assert has_opposites(values, np.array([1.0, -1.0]))
    assert not has_opposites(values, np.array([-1.0, 1.0]))
    with pytest.raises(ValueError, match="no opposite"):
        times_channel_factors(ScaledWeights(values, np.ones(1, np.float32)), np.array([-1.0, 1.0]))


def test_a_symmetric_scale_leaves_minus_128_out() -> None:
    rows = np.array([[-1.27, 0.5], [0.1, 2.54], [0, 0]], np.float32)
    assert np.allclose(symmetric_scale(rows), [0.01, 0.02, 1])
