"""The factors of the DMQ balancer, on arrays: those that AMCT found, and what holds for all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.balancing import STRENGTHS, balance_factors
from tests.shared_files import GOLDEN, needs_golden

ALGO = GOLDEN / "amct_pytorch/algo"


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ALGO / "dmq.json").read_text()) if ALGO.is_dir() else []
    return found


def magnitudes(case: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    arrays = np.load(ALGO / "dmq_inputs.npz")
    return np.abs(arrays[f"act.{case}"]).max(axis=1), np.abs(arrays[f"wts.{case}"]).max(axis=1)


@needs_golden
def test_the_factors_are_those_of_amct() -> None:
    recorded = [case for case in cases() if "factor" in case]
    assert len(recorded) == 26
    for case in recorded:
        found = balance_factors(*magnitudes(case["case"]), case["migration_strength"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.array(case["factor"], np.float32), rtol=1e-6, err_msg=case["case"])


@needs_golden
@pytest.mark.parametrize(
    ("said", "mistake", "words"),
    [
        ("not support", ValueError, "from 0.2 to 0.8"),
        ("invalid value", (ValueError, DiagnosticError), "AM404|from 0.2 to 0.8"),
        ("FLT_EPSILON", DiagnosticError, "AM278"),
    ],
)
def test_what_amct_refuses_is_refused(said: str, mistake: type[Exception], words: str) -> None:
    refused = [case for case in cases() if said in case.get("error", "")]
    assert refused
    for case in refused:
        with pytest.raises(mistake, match=words):
            balance_factors(*magnitudes(case["case"]), case["migration_strength"])


@needs_golden
@pytest.mark.parametrize("case", ["all_zero_act", "all_zero_wts"])
def test_where_all_is_zero_every_factor_is_one_and_amct_fails(case: str) -> None:
    for strength in STRENGTHS:
        assert balance_factors(*magnitudes(case), strength).tolist() == [1] * 8


def test_a_channel_without_data_takes_the_largest_range_of_the_weights() -> None:
    data, weights = np.array([4, 0, 1]), np.array([1, 2, 4])
    factors = balance_factors(data, weights, 0.5)
    np.testing.assert_allclose(factors, [2, 1, 0.5])
    assert (weights * factors).max() == weights[1] * factors[1]


def test_a_channel_without_data_widens_the_weights_by_no_bit() -> None:
    # Their range decides between 127 and 128 steps, where a channel as large lies on the other side of 0.
    rng = np.random.default_rng(3)
    for _ in range(200):
        weights = rng.uniform(0.01, 1, 40).astype(np.float32)
        data = rng.uniform(0.5, 2, 40).astype(np.float32)
        data[20:] = 0
        balanced = weights * balance_factors(data, weights, 0.5)
        assert balanced[20:].max() <= balanced[:20].max()


def test_a_channel_without_weights_takes_the_largest_range_of_the_data() -> None:
    data, weights = np.array([4, 3, 1]), np.array([1, 0, 4])
    np.testing.assert_allclose(balance_factors(data, weights, 0.5), [2, 1.5, 0.5])


def test_a_dead_channel_with_hardly_any_weights_keeps_its_size() -> None:
    assert balance_factors(np.array([4, 0]), np.array([1, 2e-7]), 0.5).tolist() == [2, 1]


def test_factors_out_of_range_are_told_with_layer_and_channel() -> None:
    with pytest.raises(DiagnosticError, match="AM278") as raised:
        balance_factors(np.array([1, 1e30]), np.array([1, 1e-6]), 0.5, "conv7")
    assert "`conv7` for channel 1" in str(raised.value)


def test_nothing_but_numbers_is_balanced() -> None:
    with pytest.raises(DiagnosticError, match="AM404"):
        balance_factors(np.array([1, np.nan]), np.array([1, 1]), 0.5, "conv7")
