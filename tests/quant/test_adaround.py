"""The formulas of AdaRound, against figures worked out by hand and by differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amctc.quant.adaround import (
    AdaRoundSettings,
    first_alpha,
    hard_rounding,
    indecision,
    soft_rounding,
    steps_below,
)
from amctc.quant.arq import quantize_with

FRACTIONS = np.array([0, 0.1, 0.25, 0.5, 0.9, 0.999], np.float32)


def test_a_rounding_begins_where_the_weight_is() -> None:
    np.testing.assert_allclose(soft_rounding(first_alpha(FRACTIONS)), FRACTIONS, atol=1e-6)
    # -log(1.2 / 0.6 - 1) = 0, and -log(1.2 / 0.35 - 1) = -log(17 / 7)
    np.testing.assert_allclose(first_alpha(np.array([0.5, 0.25], np.float32)), [0, -math.log(17 / 7)], atol=1e-6)


def test_the_sigmoid_is_stretched_and_cut_off() -> None:
    # a sigmoid of 1/12 becomes 0, one of 11/12 becomes 1
    alpha = np.array([-20, -math.log(11), 0, math.log(3), math.log(11), 20], np.float32)
    np.testing.assert_allclose(soft_rounding(alpha), [0, 0, 0.5, 0.8, 1, 1], atol=1e-6)


def test_indecision_is_nothing_for_whole_steps() -> None:
    assert indecision(np.array([0, 1, 1, 0], np.float32), 20) == 0
    assert indecision(np.array([0.5, 0.5], np.float32), 3) == 2
    assert indecision(np.array([0.75, 0.25], np.float32), 2) == pytest.approx(2 * (1 - 0.25))


def test_beta_falls_along_half_a_cosine_behind_the_warm_start() -> None:
    settings = AdaRoundSettings(100, 0.01, (20, 2), 0.2)
    assert [settings.beta(iteration) for iteration in (0, 19)] == [None, None]
    assert settings.beta(20) == 20
    assert settings.beta(60) == pytest.approx(11)
    assert settings.beta(40) == pytest.approx(2 + 9 * (1 + math.sqrt(0.5)))
    assert settings.beta(99) == pytest.approx(2 + 9 * (1 + math.cos(math.pi * 79 / 80)))
    falling = [settings.beta(iteration) or 0 for iteration in range(20, 100)]
    assert falling == sorted(falling, reverse=True)


def test_a_warm_start_to_the_end_has_no_beta() -> None:
    settings = AdaRoundSettings(10, 0.01, (20, 2), 1)
    assert {settings.beta(iteration) for iteration in range(10)} == {None}


def test_whole_steps_are_below_the_weight() -> None:
    weights = np.array([[0.75, -0.75], [2.0, -0.1]], np.float32)
    whole, rest = steps_below(weights, np.array([[0.5], [1.0]], np.float32))
    assert whole.tolist() == [[1, -2], [2, -1]]
    np.testing.assert_allclose(rest, [[0.5, 0.5], [0, 0.9]], atol=1e-6)


@pytest.mark.parametrize("bits", [4, 6, 7, 8])
def test_what_is_not_learned_is_rounded_to_the_nearest_and_clipped(bits: int) -> None:
    weights = np.random.default_rng(bits).normal(size=(5, 40)).astype(np.float32)
    scale = np.full(5, 4 / (1 << bits), np.float32)
    whole, rest = steps_below(weights, scale[:, np.newaxis])
    found = hard_rounding(whole, first_alpha(rest), bits)
    assert np.array_equal(found, quantize_with(weights, scale, bits=bits))
    assert (found.min(), found.max()) == (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_iteration": -1}, "not negative"),
        ({"reg_param": float("nan")}, "not negative"),
        ({"warm_start": 1.5}, "part of 1"),
        ({"beta_range": (2, 20)}, "falls"),
        ({"beta_range": (2, 0)}, "above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AdaRoundSettings(**settings)  # type: ignore[arg-type]  # one of them is a pair
