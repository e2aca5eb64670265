"""The observers that choose a range, against plain definitions on all values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.density_loss import density_losses
from amctc.quant.entropy import EntropyObserver, divergences, magnitudes, without_zeros
from amctc.quant.grid import fake_quantize
from amctc.quant.ifmr import IfmrSettings, measure_losses
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.mse import MseObserver, candidate_grids, candidate_ranges
from amctc.quant.observer import IfmrObserver
from amctc.quant.observers import MERGING, merging_observer
from amctc.quant.percentile import PercentileObserver
from tests.quant.observer_streams import SHAPES, FloatArray, settings_of, streams, values_of

GRIDS = [(8, True), (8, False), (12, True), (16, False)]


def fed(observer: IfmrObserver, values: FloatArray) -> IfmrObserver:
    for part in np.array_split(values, 7):
        observer.update(part)
    return observer


def grid_of(low: float, high: float, bits: int, with_offset: bool) -> tuple[float, int]:
    """The min-max grid in plain float64."""
    low, high = min(low, 0.0), max(high, 0.0)
    if with_offset:
        scale = (high - low) / (2**bits - 1)
        return scale, round(-(2 ** (bits - 1)) - low / scale)
    return max(high, -low) / (2 ** (bits - 1) - (0 if high < -low else 1)), 0


@settings(max_examples=100, deadline=None)
@given(streams(), st.sampled_from(GRIDS))
def test_minmax_is_the_grid_of_the_least_and_the_largest(values: FloatArray, grid: tuple[int, bool]) -> None:
    observer = MinMaxObserver(IfmrSettings(*grid))
    for part in np.array_split(values, 3):
        observer.update(part)
    found = observer.finish()
    low, high = float(values.min()), float(values.max())
    scale, offset = grid_of(low, high, *grid)
    assert (found.init_min, found.init_max, found.exact) == (min(low, 0), max(high, 0), True)
    assert float(found.scale) == pytest.approx(scale, rel=3e-7)
    assert abs(found.offset - offset) <= 1
    assert found.clip_min <= low + float(found.scale) and found.clip_max >= high - float(found.scale)
    assert found.clip_min <= 0 <= found.clip_max


@settings(max_examples=100, deadline=None)
@given(streams(), st.sampled_from(GRIDS), st.sampled_from([1.0, 0.9999, 0.99, 0.9, 0.501]))
def test_percentiles_are_exact_where_values_are_kept(
    values: FloatArray, grid: tuple[int, bool], percentile: float
) -> None:
    rank = max(1, values.size - int(values.size * percentile))
    ordered = np.sort(values)
    low, high = float(ordered[rank - 1]), float(ordered[-rank])
    try:
        found = fed(PercentileObserver(settings_of(*grid, percentile)), values).finish()
    except DiagnosticError as refusal:
        assert refusal.diagnostics[0].code == "AM410"
        return
    scale, offset = grid_of(low, high, *grid) if low < 0 or high > 0 else (0, 0)
    if scale < 2e-7:
        assert found.scale == 1 or float(found.scale) == pytest.approx(scale, rel=1e-6)
        return
    assert found.exact
    assert float(found.scale) == pytest.approx(scale, rel=3e-7)
    assert abs(found.offset - offset) <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("percentile", [0.99999, 0.9999, 0.999, 0.99])
def test_percentiles_of_many_values_are_exact_from_tails_and_else_off_by_less_than_a_bin(
    shape: str, percentile: float
) -> None:
    values = values_of(shape, 7, 300_000)
    rank = max(1, values.size - int(values.size * percentile))
    ordered = np.sort(values)
    low, high = min(float(ordered[rank - 1]), 0.0), max(float(ordered[-rank]), 0.0)
    found = fed(PercentileObserver(settings_of(8, True, percentile)), values).finish()
    # From the grid back to the range, of which the scale is a 255th.
    span = float(found.scale) * 255
    assert found.exact == (rank <= 64)
    if found.exact:
        assert span == pytest.approx(high - low, rel=3e-7)
    else:
        a_bin = float(np.abs(values).max()) / 4096
        assert abs(span - (high - low)) < 2 * a_bin  # one for either end


def plain_divergence(sides: NDArray[np.int64], bins: int, levels: int) -> float:
    """The definition, bin by bin."""
    p: list[float] = []
    q: list[float] = []
    for side in sides.tolist():
        kept, beyond = side[:bins], sum(side[bins:])
        level_of = [levels * j // bins for j in range(bins)]
        sums, used = [0.0] * levels, [0] * levels
        for level, count in zip(level_of, kept, strict=True):
            sums[level] += count
            used[level] += count > 0
        p += [*kept[:-1], kept[-1] + beyond]
        q += [sums[level] / used[level] if count else 0.0 for level, count in zip(level_of, kept, strict=True)]
        if beyond and not kept[-1]:
            q[-1] = 1e-4
    whole, inside = sum(p), sum(q)
    return sum(one / whole * math.log(one / whole / (other / inside)) for one, other in zip(p, q, strict=True) if one)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2), st.integers(4, 60), st.sampled_from([4, 5, 16]))
def test_divergences_are_those_of_the_definition(seed: int, sides: int, bins: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    bins = max(bins, levels)
    counts = rng.integers(0, 50, (sides, bins)) * rng.integers(0, 2, (sides, bins))
    counts[0, 0] += 1
    wanted = [plain_divergence(counts, i, levels) for i in range(levels, bins + 1)]
    assert divergences(counts, levels) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_finds_the_threshold_of_the_plain_definition(shape: str, with_offset: bool) -> None:
    values = values_of(shape, 11, 20_000)
    found = fed(EntropyObserver(IfmrSettings(8, with_offset)), values).finish()
    low, high = float(values.min()), float(values.max())
    width = 2.0 ** (math.frexp(max(-low, high))[1] - 11)
    sides = np.zeros((2, 2048), np.int64)
    for value in values.tolist():
        sides[int(value > 0), int(abs(value) / width)] += 1
    sides = sides[:, : int(max(-low, high) / width) + 1]
    sides[:, 0] = sides[:, 1]
    if not with_offset:
        sides = sides.sum(axis=0, keepdims=True)
    # All of them at once, and the plain definition around the one that was chosen and at some others.
    every = divergences(sides, 128)
    for bins in {found.index, 128, sides.shape[1], *range(200, sides.shape[1], 400)}:
        assert every[bins - 128] == pytest.approx(plain_divergence(sides, bins, 128), abs=1e-10)
    assert found.loss == pytest.approx(every.min(), abs=2e-9)
    assert every[found.index - 128] == pytest.approx(found.loss, abs=1e-12)
    threshold = found.index * width
    scale, offset = grid_of(max(low, -threshold), min(high, threshold), 8, with_offset)
    assert float(found.scale) == pytest.approx(scale, rel=3e-7)
    assert abs(found.offset - offset) <= 1


def test_entropy_gives_up_a_lone_outlier_and_keeps_what_is_even() -> None:
    outlier = fed(EntropyObserver(), values_of("lone outlier", 1, 200_000)).finish()
    assert outlier.clip_max < 200
    even = np.linspace(-3, 5, 100_000, dtype=np.float32)
    found = fed(EntropyObserver(), even).finish()
    assert (found.clip_min, found.clip_max) == pytest.approx((-3, 5), abs=0.05)


def test_zeros_of_a_relu_do_not_move_the_threshold() -> None:
    positive = np.abs(values_of("normal", 5, 50_000)).reshape(-1, 1000)
    alone = fed(EntropyObserver(), positive).finish()
    among_zeros = fed(EntropyObserver(), np.concatenate((positive, np.zeros((500, 1000), np.float32)))).finish()
    assert among_zeros.index == alone.index


@pytest.mark.parametrize("bits", [12, 16])
def test_entropy_takes_the_whole_range_where_levels_are_no_fewer_than_bins(bits: int) -> None:
    values = values_of("heavy", 2, 20_000)
    whole = MinMaxObserver(IfmrSettings(bits))
    whole.update(values)
    found = fed(EntropyObserver(IfmrSettings(bits)), values).finish()
    assert (found.scale, found.offset) == (whole.finish().scale, whole.finish().offset)


@settings(max_examples=100, deadline=None)
@given(streams())
def test_magnitudes_hold_every_value_at_its_distance_from_0(values: FloatArray) -> None:
    observer = EntropyObserver()
    observer.update(values)
    width = 2.0 ** (max(math.frexp(float(np.abs(values).max()))[1], -64) - 11)
    sides = magnitudes(observer.density(), width)
    bins = np.abs(np.trunc(values.astype(np.float64) / width)).astype(int)
    wanted = np.bincount(bins, minlength=sides.shape[1])
    # Of both signs in bin 0, and 0 itself, it is only known how many there are.
    assert sides.sum(axis=0).tolist() == wanted.tolist()
    assert sides[0, 1:].sum() == np.count_nonzero((values < 0) & (bins > 0))
    assert without_zeros(sides)[:, 1:].tolist() == sides[:, 1:].tolist()


PAIRS = ("normal", "laplace", "heavy", "lone outlier")
"""What has values on both sides of 0."""


@pytest.mark.parametrize(
    ("shape", "grid"),
    [(shape, (8, offset)) for shape in SHAPES for offset in (True, False)]
    + [(shape, (16, shape not in PAIRS)) for shape in SHAPES],
)
def test_mse_on_the_histogram_is_within_a_thousandth_of_the_best_candidate(shape: str, grid: tuple[int, bool]) -> None:
    values, options = values_of(shape, 3, 20_000), IfmrSettings(*grid)
    found = fed(MseObserver(options), values).finish()
    assert not found.exact
    grids = candidate_grids(candidate_ranges(float(values.min()), float(values.max()), grid[1]), options)
    exact = measure_losses(values, grids)
    assert exact[found.index] <= exact.min() * 1.001
    put = fake_quantize(values, found.scale, found.offset, found.bits).astype(np.float64)
    assert np.mean((put - values) ** 2) == pytest.approx(exact[found.index], rel=1e-3)


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_mse_leaves_out_no_candidate_that_is_better(shape: str, with_offset: bool) -> None:
    options = IfmrSettings(8, with_offset)
    few, many = values_of(shape, 9, 400), values_of(shape, 9, 40_000)
    for values in (few, many):
        observer = fed(MseObserver(options), values)
        grids = candidate_grids(candidate_ranges(float(values.min()), float(values.max()), with_offset), options)
        if values is few:
            every = measure_losses(np.sort(values), grids)
        else:
            density = observer.density()
            every = np.concatenate(
                [
                    density_losses(density, type(grids)(grids.scales[i:j], grids.lows[i:j], grids.highs[i:j]))
                    for i, j in zip(range(0, 30_000, 1000), range(1000, 31_000, 1000), strict=True)
                ]
            )
        found = observer.finish()
        assert found.loss == every.min()
        assert found.index == int(np.argmin(every))


def test_mse_is_not_bound_to_the_range_that_ifmr_searches() -> None:
    values = np.append(values_of("normal", 4, 2_000_000), np.float32(100)).reshape(-1, 3)
    searched = fed(IfmrObserver(settings_of(8, False, 1.0)), values).finish()
    free = fed(MseObserver(IfmrSettings(8, False)), values).finish()
    assert searched.clip_max > 69
    assert free.clip_max < 20
    assert free.loss < searched.loss / 4


@pytest.mark.parametrize("name", MERGING)
def test_what_has_no_scale_is_told_with_the_layer(name: str) -> None:
    def observer() -> IfmrObserver:
        return merging_observer(name, IfmrSettings(), "conv1", 1 << 14)  # type: ignore[return-value]

    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(DiagnosticError, match=r"AM404.*`conv1` holds NaN or Inf"):
            observer().update(np.array([1, bad, 2], np.float32))
    with pytest.raises(DiagnosticError, match=r"AM406.*`conv1`"):
        fed(observer(), np.zeros(0, np.float32)).finish()
    with pytest.raises(DiagnosticError, match=r"AM405.*`conv1` are 0"):
        fed(observer(), np.zeros(100, np.float32)).finish()
    for huge in (1e37, 3.4e38):
        with pytest.raises(DiagnosticError, match=r"AM410.*`conv1` is illegal, its data range is"):
            fed(observer(), np.array([huge, -huge, 1], np.float32)).finish()


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("shape", ["relu", "negative", "normal"])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_range_holds_0_on_a_grid_of_the_bits_asked_for(name: str, shape: str, grid: tuple[int, bool]) -> None:
    observer = merging_observer(name, IfmrSettings(*grid), "conv1", 1 << 14)
    observer.update(values_of(shape, 8, 30_000) + np.float32({"relu": 2, "negative": -2, "normal": 0}[shape]))
    found = observer.finish()
    assert found.bits == grid[0]
    assert found.clip_min <= 0 <= found.clip_max
    assert grid[1] or found.offset == 0
