"""The factors of cross-layer equalization, on arrays."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amctc.quant.equalization import Factors, Magnitudes, equalizing_factors

GROUPS = ((1, 6, 3), (6, 1, 1), (2, 2, 3), (1, 5, 4), (5, 2, 1), (1, 2, 10))
"""[groups, outputs, inputs] of a chain: each layer has as many input channels as the one before has outputs."""


def chain_of(seed: int) -> list[Magnitudes]:
    rng = np.random.default_rng(seed)
    return [np.exp(rng.normal(scale=2, size=shape)) for shape in GROUPS]


def ranges(chain: list[Magnitudes], factors: list[Factors]) -> list[tuple[Factors, Factors]]:
    """For each link the ranges of its channels in the layer before and in the one behind, as they are scaled."""
    scaled: list[Magnitudes] = []
    for number, layer in enumerate(chain):
        groups, outputs, inputs = layer.shape
        found = layer.copy()
        for group, row, column in np.ndindex(groups, outputs, inputs):
            if number:
                found[group, row, column] *= factors[number - 1][group * inputs + column]
            if number < len(factors):
                found[group, row, column] /= factors[number][group * outputs + row]
        scaled.append(found)
    return [(first.max(axis=2).ravel(), second.max(axis=1).ravel()) for first, second in pairwise(scaled)]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_channel_has_the_same_range_on_both_sides(seed: int) -> None:
    chain = chain_of(seed)
    for before, behind in ranges(chain, equalizing_factors(chain, rounds=500, most=1e9)):
        np.testing.assert_allclose(before, behind, rtol=2e-2)


def test_one_pair_has_the_factors_of_the_paper() -> None:
    first, second = np.array([[[8.0, 4.0], [0.5, 0.25]]]), np.array([[[0.5, 2.0], [0.25, 1.0]]])
    r1, r2 = np.array([8.0, 0.5]), np.array([0.5, 2.0])
    (found,) = equalizing_factors([first, second], rounds=1, most=1e4)
    np.testing.assert_allclose(found, np.sqrt(r1 * r2) / r2)


def test_a_channel_without_weights_keeps_its_factor() -> None:
    first, second = np.array([[[0.0], [4.0], [4.0], [np.inf]]]), np.array([[[1.0, 0.0, 1.0, 1.0]]])
    (found,) = equalizing_factors([first, second], rounds=8, most=1e4)
    assert found.tolist() == [1, 1, 2, 1]


def test_factors_are_bounded() -> None:
    first, second = np.array([[[1e30], [1e-30]]]), np.array([[[1e-30, 1e30]]])
    (found,) = equalizing_factors([first, second], rounds=8, most=100)
    np.testing.assert_allclose(found, [100, 0.01])
