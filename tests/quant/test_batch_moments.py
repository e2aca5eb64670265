"""One batch more in running statistics, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.quant.batch_statistics import RunningStatistics, batch_moments, updated_statistics
from tests.runtime.batch_norm_reference import TOLERANCE, difference, step


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 6), st.integers(1, 5)),
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
        st.tuples(st.just(1), st.integers(1, 4), st.just(1), st.just(1)),
    ),
    fraction=st.floats(0, 1, width=32),
    centre=st.floats(-100, 100, width=32),
    seed=st.integers(0, 1 << 16),
)
def test_one_batch_does_what_the_definition_says(
    shape: tuple[int, ...], fraction: float, centre: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(centre, 3, shape).astype(np.float32)
    blobs = [rng.uniform(0, 2, size).astype(np.float32) for size in (shape[1], shape[1], 1)]
    found = updated_statistics(RunningStatistics(*blobs), x, fraction)
    for own, expected in zip((found.mean, found.variance, found.factor), step(blobs, x, fraction), strict=True):
        assert own.dtype == np.float32
        assert difference(own, expected) <= TOLERANCE


@given(
    parts=st.integers(1, 40), channels=st.integers(1, 9), size=st.sampled_from([1, 7, 30000]), seed=st.integers(0, 99)
)
def test_the_moments_are_those_of_all_blocks_together(parts: int, channels: int, size: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(1e4, 1, (parts, channels, size)).astype(np.float32)
    mean, variance = batch_moments(x)
    wide = x.astype(np.float64)
    assert difference(mean, wide.mean(axis=(0, 2))) <= 1e-12
    # The values lie 1e4 from 0, and the variance comes out all the same.
    assert difference(variance, wide.var(axis=(0, 2))) <= 1e-9


def test_a_channel_of_equal_values_has_the_variance_zero() -> None:
    _, variance = batch_moments(np.full((3, 2, 5), 0.1, np.float32))
    assert variance.tolist() == [0, 0]


def test_a_small_variance_is_found_behind_a_sample_far_away() -> None:
    x = np.random.default_rng(1).normal(0, 1e-3, (4096, 1)).astype(np.float32)
    x[0] = 1e4
    assert difference(batch_moments(x)[1], x.astype(np.float64).var(axis=0)) <= 1e-9


def test_one_value_a_channel_is_not_divided_by_zero() -> None:
    before = RunningStatistics(*(np.array([1], np.float32) for _ in range(3)))
    found = updated_statistics(before, np.array([[5]], np.float32), 0.5)
    assert (found.mean.item(), found.variance.item(), found.factor.item()) == (5.5, 0.5, 1.5)


def test_a_batch_without_values_changes_nothing() -> None:
    before = RunningStatistics(*(np.array([1], np.float32) for _ in range(3)))
    assert updated_statistics(before, np.zeros((0, 1, 4), np.float32), 0.5) is before


def test_statistics_of_other_channels_are_refused() -> None:
    before = RunningStatistics(*(np.array([1], np.float32) for _ in range(3)))
    with pytest.raises(ValueError, match="1 channels"):
        updated_statistics(before, np.zeros((2, 3), np.float32), 0.5)
