"""ULQ: clips, output and gradients are the recorded ones, and the gradients are derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.quant.grid import fake_quantize
from amctc.quant.ulq import Clips, grid_of_clips, ulq_gradients, ulq_grid, usable_clips
from tests.quant.ulq_cases import NO_RANGE, SLIP, clips_of, recorded, same_sum
from tests.shared_files import needs_golden


@needs_golden
def test_outputs_and_gradients_are_the_recorded_ones() -> None:
    cases, arrays = recorded("ulq_retrain")
    told = [case for case in cases if "error" not in case]
    assert len(told) == 238
    for case in told:
        x, gradient, bits = arrays[f"x.{case['input']}"], arrays["gy"], case["num_bits"]
        clips = Clips(case["clip_max_out"], case["clip_min_out"])
        grid = grid_of_clips(clips, bits, with_offset=case["asymmetric"])
        assert (float(grid.scale), int(grid.offset)) == (case["scale"], case["offset"]), case
        assert np.array_equal(fake_quantize(x, grid.scale, grid.offset, bits), arrays[f"y.{case['tag']}"]), case
        found = ulq_gradients(x, gradient, clips, grid)
        assert np.array_equal(found.data, arrays[f"gx.{case['tag']}"]), case
        assert same_sum(float(found.clip_max), case["grad_clip_max"], gradient), case
        assert same_sum(float(found.clip_min), case["grad_clip_min"], gradient), case


@needs_golden
def test_clips_are_checked_as_recorded_but_for_a_slip() -> None:
    slips = 0
    for case in recorded("ulq_retrain")[0]:
        before = Clips(float(case["clip_max_pre"]), float(case["clip_min_pre"]))
        previous = None if math.isnan(before.high) else before
        found = usable_clips(case["clip_max"], case["clip_min"], fixed_min=case["fixed_min"], previous=previous)
        if previous is None and clips_of(case) == NO_RANGE:
            assert found is None and "error" in case
        elif "error" in case:
            assert case["input"] == "nan"
        elif clips_of(case) == SLIP:
            slips += 1
            assert (case["clip_max_out"], case["clip_min_out"]) == (3, 1) and found == before
        else:
            assert found is not None
            assert np.array(found, np.float32).tolist() == [case["clip_max_out"], case["clip_min_out"]], case
    assert slips == 18


@pytest.mark.parametrize("previous", [None, Clips(3.0, -2.0)])
@pytest.mark.parametrize("clips", [(math.nan, -1.0), (math.inf, -1.0), (1.0, -math.inf), (1.0, 2.0), (0.0, 0.0)])
def test_clips_that_are_no_range_are_those_of_before(clips: tuple[float, float], previous: Clips | None) -> None:
    assert usable_clips(*clips, fixed_min=False, previous=previous) == previous


def test_an_end_on_the_wrong_side_of_zero_is_that_of_before_or_zero() -> None:
    before = Clips(3.0, -2.0)
    assert usable_clips(-1.0, -4.0, fixed_min=False, previous=before) == (3.0, -4.0)
    assert usable_clips(4.0, 1.0, fixed_min=False, previous=before) == (4.0, -2.0)
    assert usable_clips(-1.0, -4.0, fixed_min=False) == (0.0, -4.0)
    assert usable_clips(4.0, 1.0, fixed_min=False) == (4.0, 0.0)


def test_a_fixed_minimum_is_zero_whatever_the_clips_are() -> None:
    before = Clips(3.0, -2.0)
    assert usable_clips(2.0, -1.0, fixed_min=True) == (2.0, 0.0)
    assert usable_clips(-2.0, -1.0, fixed_min=True, previous=before) == (3.0, 0.0)
    assert usable_clips(2.0, math.nan, fixed_min=True) == (2.0, 0.0)
    assert usable_clips(-2.0, -1.0, fixed_min=True) is None


def test_a_grid_without_earlier_clips_is_that_of_the_clips() -> None:
    grid = ulq_grid(2.0, -1.5, bits=8, fixed_min=False)
    assert grid is not None and (float(grid.scale), int(grid.offset)) == (float(np.float32(3.5) / np.float32(255)), -19)
    assert ulq_grid(0.0, 0.0, bits=8, fixed_min=False) is None


def surrogate(x: NDArray[np.float64], high: float, low: float, held: NDArray[np.float64], bits: int) -> float:
    """The sum of `value + scale * residue`, in float64; the residues of rounding are held as they are."""
    return float((np.clip(x, low, high) + (high - low) / (2**bits - 1) * held).sum())


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("below", [0.4, 0.0, 1.0])
def test_gradients_are_derivatives_where_rounding_is_held(below: float, bits: int) -> None:
    levels = 2**bits - 1
    low = round(below * levels) / levels  # clips that the grid's own ends are
    clips = Clips(3.0 * (1 - low), -3.0 * low)
    x = np.random.default_rng(3).normal(size=500)
    grid = grid_of_clips(clips, bits)
    steps = np.clip(x, clips.low, clips.high) / 3.0 * levels
    held = np.rint(steps) - steps
    found = ulq_gradients(x, np.ones(x.size), clips, grid)
    assert np.array_equal(found.data, (x > clips.low) & (x < clips.high))

    step = 1e-6
    to_max = surrogate(x, clips.high + step, clips.low, held, bits) - surrogate(
        x, clips.high - step, clips.low, held, bits
    )
    to_min = surrogate(x, clips.high, clips.low + step, held, bits) - surrogate(
        x, clips.high, clips.low - step, held, bits
    )
    # The residues of float32 quotients of 16 bits are off by up to 1/256, of 1/65535 each.
    assert abs(float(found.clip_max) - to_max / (2 * step)) <= 1e-3
    assert abs(float(found.clip_min) - to_min / (2 * step)) <= 1e-3


def test_a_fixed_minimum_has_no_gradient() -> None:
    x = np.random.default_rng(3).normal(size=50)
    clips = Clips(1.0, 0.0)
    free, fixed = (
        ulq_gradients(x, np.ones(50), clips, grid_of_clips(clips, 8), fixed_min=fixed) for fixed in (False, True)
    )
    assert fixed.clip_min == 0 and free.clip_min != 0
    assert fixed.clip_max == free.clip_max and np.array_equal(fixed.data, free.data)
