"""Weights in training: ARQ anew in every pass and a learned scale give the recorded outputs and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.trained_weights import (
    arq_trained,
    first_scale,
    reciprocal_gradient,
    scale_gradient,
    ulq_trained,
    usable_scale,
)
from tests.quant.ulq_cases import recorded
from tests.shared_files import needs_golden


@needs_golden
def test_weights_by_arq_are_the_recorded_ones_and_their_gradient_goes_straight_through() -> None:
    cases, arrays = recorded("arq_retrain")
    compared = 0
    for case in cases:
        wise, bits = case["channel_wise"], case["num_bits"]
        if "error" in case:
            with pytest.raises(DiagnosticError, match="layer `fc`"):
                arq_trained(np.array([[np.nan, 1]], np.float32), channel_wise=wise, bits=bits, layer_name="fc")
            continue
        weight, tag = arrays[f"w.{case['weight']}"], f"{case['weight']}.b{bits}.cw{int(wise)}"
        rows = weight.reshape(len(weight), -1)
        assert np.array_equal(arq_trained(rows, channel_wise=wise, bits=bits).reshape(weight.shape), arrays[f"q.{tag}"])
        assert first_scale(rows, channel_wise=wise, bits=bits).tolist() == np.atleast_1d(case["scale"]).tolist()
        assert np.array_equal(arrays[f"gin.{tag}"], arrays[f"gw.{tag}"])
        compared += 1
    assert compared == 16


@needs_golden
def test_weights_by_a_learned_scale_and_its_gradient_are_the_recorded_ones() -> None:
    cases, arrays = recorded("ulq_scale_retrain")
    assert len(cases) == 32
    for case in cases:
        weight, gradient, tag = arrays[f"w.{case['weight']}"], arrays[f"gy.{case['weight']}"], case["tag"]
        values, flowing = (array.reshape(len(array), -1) for array in (weight, gradient))
        bits = case["num_bits"]
        stored = np.array(case["scale"], np.float32).reshape(-1)
        scale = np.asarray(1 / stored if case["s_rec_flag"] else stored, np.float32)
        if case["cur_batch"] == 0:
            begun = first_scale(values, channel_wise=case["channel_wise"], bits=bits)
            assert np.allclose(begun, scale, rtol=2e-7, atol=0), tag
        assert np.array_equal(ulq_trained(values, scale, bits).reshape(weight.shape), arrays[f"q.{tag}"]), tag
        assert np.array_equal(gradient, arrays[f"gw.{tag}"]), tag
        found = scale_gradient(values, flowing, scale, bits)
        found = reciprocal_gradient(found, scale) if case["s_rec_flag"] else found
        wanted = np.atleast_1d(arrays[f"gs.{tag}"])
        assert np.allclose(found, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max()), tag


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_gradient_of_a_scale_is_a_derivative_where_rounding_is_held(bits: int, groups: int) -> None:
    rng = np.random.default_rng(5)
    rows, gradient = rng.normal(size=(3, 40)), rng.normal(size=(3, 40))
    scale = np.full(groups, 1.5 / 2 ** (bits - 1))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    held = np.rint(rows / scale[:, None]) - rows / scale[:, None]

    def total(scale: float) -> NDArray[np.float64]:
        inside = rows + scale * held
        clipped = np.where(rows > scale * high, scale * high, np.where(rows < scale * low, scale * low, inside))
        return np.asarray((clipped * gradient).reshape(groups, -1).sum(axis=1))

    step = 1e-7
    derivative = (total(scale[0] + step) - total(scale[0] - step)) / (2 * step)
    found = scale_gradient(rows, gradient, scale.astype(np.float32), bits) * math.sqrt(40 * high)
    assert np.allclose(found, derivative, rtol=1e-3, atol=1e-3)


def test_a_reciprocal_scale_has_the_gradient_of_the_chain_rule() -> None:
    scale = np.array([0.5, 2.0], np.float32)
    assert reciprocal_gradient(np.array([3, 3], np.float32), scale).tolist() == [-0.75, -12.0]


def test_a_scale_that_a_step_has_spoilt_is_that_of_before() -> None:
    before = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    found = usable_scale(np.array([0.5, -0.0003, np.nan, 1e-9], np.float32), before)
    assert found.tolist() == np.array([0.5, 0.2, 0.3, 0.4], np.float32).tolist()
