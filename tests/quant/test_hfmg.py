from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.grid import scale_offset_from_range
from amctc.quant.hfmg import BIN_COUNTS, HfmgObserver, HfmgSettings
from amctc.quant.hfmg_histogram import RangeHistogram, count_values, counts_on
from amctc.quant.hfmg_search import (
    candidate_ranges,
    clipping_errors,
    range_errors_by_cells,
    range_errors_by_edges,
    range_losses,
    search,
)
from amctc.quant.observers import Observer
from tests.quant.hfmg_cases import ALGO, Case, recorded_cases
from tests.shared_files import needs_golden

FloatArray = NDArray[np.float32]

FLOAT32_SUMS = 5e-5
"""How far the recorded losses, sums of float32 cubes, are off: 3e-5 relative on these inputs."""


def observe(options: HfmgSettings, *batches: FloatArray) -> HfmgObserver:
    observer = HfmgObserver(options, "conv1")
    for batch in batches:
        observer.update(batch)
    return observer


def histogram_of(options: HfmgSettings, *batches: FloatArray) -> RangeHistogram:
    histogram = observe(options, *batches).histogram
    assert histogram is not None
    return histogram


def good_cases() -> list[Case]:
    return [case for case in recorded_cases() if "error" not in case.row and case.row["input"] != "extreme"]


@needs_golden
def test_all_recorded_grids_are_found_to_the_bit() -> None:
    cases = good_cases()
    assert len(cases) == 88
    for case in cases:
        found = search(histogram_of(case.settings, *case.batches), case.settings)
        recorded = case.row["steps"][-1]
        assert (found.scale, found.offset) == (np.float32(recorded["scale"]), recorded["offset"]), case.row
        assert (found.clip_max, found.clip_min) == (recorded["clip_max"], recorded["clip_min"]), case.row


@needs_golden
def test_before_the_last_batch_the_recorded_grids_are_the_min_max_grids_of_single_batches() -> None:
    compared = 0
    for case in good_cases():
        if case.row["input"] == "const_neg" and not case.settings.with_offset:
            continue  # see test_one_negative_value_has_a_symmetric_grid_of_its_magnitude
        for batch, recorded in zip(case.batches[:-1], case.row["steps"][:-1], strict=True):
            params = scale_offset_from_range(batch.min(), batch.max(), case.settings.bits, case.settings.with_offset)
            assert (float(params.scale), int(params.offset)) == (recorded["scale"], recorded["offset"]), case.row
            assert not recorded["flag"]
            compared += 1
    assert compared == 60


@needs_golden
def test_what_was_refused_in_the_recording_is_refused() -> None:
    refused = [case for case in recorded_cases() if "error" in case.row]
    assert len(refused) == 10
    for case in refused:
        with pytest.raises(DiagnosticError, match=r"AM404.*`conv1` holds NaN or Inf"):
            observe(case.settings, *case.batches)


@needs_golden
def test_data_too_large_for_any_legal_scale_are_refused() -> None:
    # AMCT chose scales of 1e35 there, on counts that had overflowed.
    extreme = [case for case in recorded_cases() if case.row["input"] == "extreme"]
    assert len(extreme) == 5
    for case in extreme:
        with pytest.raises(DiagnosticError, match=r"AM410.*`conv1` is illegal, its data range is"):
            observe(case.settings, *case.batches).finish()


@needs_golden
@pytest.mark.parametrize("name", ["normal", "heavy", "relu"])
def test_every_stage_is_the_recorded_one(name: str) -> None:
    detail = np.load(ALGO / "hfmg_detail.npz", allow_pickle=False)
    data: FloatArray = np.load(ALGO / "algo_inputs.npz", allow_pickle=False)[name]
    options = HfmgSettings(num_of_bins=1024)
    first, second = data[:4], data[4:].reshape(-1)
    histogram = histogram_of(options, first)
    assert [histogram.low, histogram.high] == detail[f"{name}/range_first"].tolist()
    assert histogram.counts.tolist() == detail[f"{name}/hist_first"].tolist()
    low, high = detail[f"{name}/range_union"]
    new = count_values(second, low, high, 1024)
    assert new.tolist() == detail[f"{name}/hist_second_on_union"].tolist()
    assert (new + counts_on(histogram, low, high)).tolist() == detail[f"{name}/hist_merged"].tolist()

    histogram = histogram_of(options, first, second)
    assert histogram.counts.tolist() == detail[f"{name}/hist_merged"].tolist()
    ranges = candidate_ranges(histogram.counts)
    assert ranges.tolist() == detail[f"{name}/search_range"].tolist()
    losses, recorded = range_losses(histogram, ranges, 8), detail[f"{name}/loss"]
    assert np.all(np.abs(losses - recorded) <= FLOAT32_SUMS * losses)
    assert losses.argmin() == recorded.argmin()
    # The winners are the widest ranges of all; the next ones come in the same order too.
    assert np.argsort(losses)[:5].tolist() == np.argsort(recorded)[:5].tolist()


def test_one_negative_value_has_a_symmetric_grid_of_its_magnitude() -> None:
    # Recorded: 0.75 over 127, though the negative side is all there is. A range of values has 128 steps then.
    values = np.full(10, -0.75, np.float32)
    result = observe(HfmgSettings(with_offset=False), values).finish()
    assert (result.scale, result.offset) == (np.float32(0.75) / np.float32(127), 0)
    result = observe(HfmgSettings(with_offset=False), np.array([-0.75, -0.1], np.float32)).finish()
    assert result.scale == np.float32(0.75) / np.float32(128)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], "AM406"),
        ([0.0, 0.0], "AM405"),
        ([1.0, math.nan], "AM404"),
        ([-math.inf, 1.0], "AM404"),
        ([3e38, -3e38], "AM410"),
        ([3.4e38], "AM410"),
        ([1e13, 0.0], "AM410"),
    ],
)
@pytest.mark.parametrize("options", [HfmgSettings(), HfmgSettings(16, False, 1024)])
def test_data_that_have_no_scale_name_the_layer(values: list[float], code: str, options: HfmgSettings) -> None:
    with pytest.raises(DiagnosticError, match=f"{code}.*`conv1`"):
        observe(options, np.array(values, np.float32)).finish()


def test_a_float64_too_large_for_float32_is_reported_as_infinite() -> None:
    with pytest.raises(DiagnosticError, match="AM404"):
        HfmgObserver().update(np.array([1e300]))


@pytest.mark.parametrize(
    ("field", "value"), [("bits", 7), ("bits", 17), ("num_of_bins", 4095), ("num_of_bins", 0), ("num_of_bins", 16384)]
)
def test_an_illegal_setting_is_named(field: str, value: int) -> None:
    with pytest.raises(DiagnosticError, match=f"AM407.*`{field}` cannot be {value}"):
        HfmgSettings(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2.5, -0.75, 1e-30, 16777217.0, 1e9])
def test_one_value_is_the_end_of_its_grid(value: float) -> None:
    result = observe(HfmgSettings(num_of_bins=1024), *[np.full((2, 3), value, np.float32)] * 3).finish()
    params = scale_offset_from_range(value, value, 8, with_offset=True)
    assert (float(result.scale), result.offset, result.loss) == (float(params.scale), int(params.offset), 0.0)
    assert (result.init_min, result.init_max) == (min(np.float32(value), 0), max(np.float32(value), 0))


def test_a_constant_batch_at_the_end_of_later_values_is_kept() -> None:
    # 3 is the upper edge of the last bin, and AMCT looks for a bin after it.
    histogram = histogram_of(HfmgSettings(), np.full(5, 3, np.float32), np.linspace(0, 3, 7, dtype=np.float32))
    assert histogram.counts[-1] == 6
    assert histogram.counts.sum() == 12


def test_a_bin_across_an_edge_is_split_and_its_lower_part_truncated() -> None:
    # Bins of 1 from 0 become bins of 1.5: the one from 1 to 2 is cut in half.
    narrow = RangeHistogram(np.float32(0), np.float32(4), np.array([1, 7, 0, 4]))
    assert counts_on(narrow, np.float32(0), np.float32(6)).tolist() == [4, 4, 4, 0]


def test_no_part_of_a_bin_is_negative_where_float32_edges_cross() -> None:
    low, high, wider_low = np.float32(0.41383666), np.float32(5.2269716), np.float32(-719.63)
    parts = [
        counts_on(RangeHistogram(low, high, np.where(np.arange(1024) == i, 10**6, 0)), wider_low, high)
        for i in range(1024)
    ]
    assert min(int(part.min()) for part in parts) == 0
    assert {int(part.sum()) for part in parts} == {10**6}


def test_a_range_of_almost_the_same_ends_keeps_its_counts() -> None:
    histogram = RangeHistogram(np.float32(-1e-7), np.float32(1), np.array([1, 2, 3, 4]))
    assert counts_on(histogram, np.float32(-2e-7), np.float32(1)).tolist() == [1, 2, 3, 4]


def test_bins_hold_what_lies_on_their_lower_edge_and_the_last_one_the_largest_value() -> None:
    values = np.array([0, 0.25, 0.5, 0.75, 1, np.nextafter(np.float32(0.5), np.float32(0))], np.float32)
    assert count_values(values, values[0], values[4], 4).tolist() == [1, 2, 1, 2]


def test_an_empty_batch_changes_nothing_and_any_float_type_is_taken() -> None:
    values = np.linspace(-1, 3, 1000).astype(np.float16)
    plain, mixed = observe(HfmgSettings(), values.astype(np.float32)), HfmgObserver(name="conv1")
    mixed.update(np.zeros((0, 3), np.float32))
    mixed.update(values)
    mixed.update(np.zeros(0, np.float64))
    assert mixed.finish() == plain.finish()


@pytest.mark.parametrize("bins", BIN_COUNTS)
def test_memory_is_that_of_the_bins_alone(bins: int) -> None:
    observer = HfmgObserver(HfmgSettings(num_of_bins=bins))
    assert observer.nbytes == 0
    for seed in range(3):
        observer.update(np.random.default_rng(seed).standard_normal((5, 40_000), dtype=np.float32))
    assert observer.nbytes == 8 * bins


def test_observers_with_different_settings_do_not_merge() -> None:
    with pytest.raises(ValueError, match="different settings"):
        HfmgObserver(HfmgSettings()).merge(HfmgObserver(HfmgSettings(bits=16)))


def test_the_full_range_is_chosen_where_every_clip_costs_more() -> None:
    # Half the values at either end: AMCT cannot but clip one of them.
    values = np.repeat(np.array([-1, 1], np.float32), 1000)
    usual, full = (observe(HfmgSettings(full_range=option), values).finish() for option in (False, True))
    assert full.index == 0
    assert full.loss < usual.loss
    assert full.scale == np.float32(2) / np.float32(255)
    assert usual.scale < full.scale


def test_the_side_that_sheds_a_value_with_more_bins_gives_them_up() -> None:
    assert candidate_ranges(np.array([1, 0, 0, 5, 9, 5, 0, 2])).tolist() == [[0, 6], [0, 4], [0, 3], [0, 2]]
    assert candidate_ranges(np.array([0, 0, 1, 5, 9, 5, 0, 2])).tolist() == [[3, 7], [3, 6], [3, 4]]


def test_of_many_values_each_step_sheds_a_hundred_thousandth() -> None:
    counts = np.full(1024, 1000)  # 11 values a step, so that a bin is one step
    assert len(candidate_ranges(counts)) == 1023 - 256
    counts[-200:] = 1  # 9 a step, and 8 in the last 8 bins
    assert candidate_ranges(counts)[0].tolist() == [0, 1023 - 9]


def test_both_forms_of_the_error_are_the_mean_over_a_dense_sample() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 50, 64).astype(np.float64)
    ranges = np.array([[0, 63], [5, 40], [30, 47], [63, 63]])
    parts = 4000
    places = np.arange(64)[:, np.newaxis] + (np.arange(parts) + 0.5) / parts
    beyond = np.maximum(np.maximum(ranges[:, :1, np.newaxis] - places, places - 1 - ranges[:, 1:, np.newaxis]), 0)
    clipped = (counts[:, np.newaxis] * beyond**2 / parts).sum(axis=(1, 2))
    assert clipping_errors(counts, ranges) == pytest.approx(clipped, rel=1e-3)
    for cells in (4, 16, 256):
        expected: list[float] = []
        for first, last in ranges:
            width = (last - first + 1) / cells
            levels = (np.clip(np.floor((places - first) / width), 0, cells - 1) + 0.5) * width + first
            expected.append(float((counts * ((places - levels) ** 2).mean(axis=1)).sum()))
        for errors in (range_errors_by_cells, range_errors_by_edges):
            assert errors(counts, ranges, cells) == pytest.approx(expected, rel=1e-3)


def test_cells_narrower_than_epsilon_cost_nothing_whatever_is_clipped() -> None:
    values = np.random.default_rng(0).uniform(0, 0.02, 5000).astype(np.float32)
    histogram = histogram_of(HfmgSettings(16, num_of_bins=1024), values)
    ranges = candidate_ranges(histogram.counts)
    losses = range_losses(histogram, ranges, 16)
    widths = (ranges[:, 1] - ranges[:, 0] + 1) * float(histogram.width) / (1 << 16)
    assert losses[0] > 0
    assert np.array_equal(losses == 0, widths < 1.192092896e-7)
    result = search(histogram, HfmgSettings(16, num_of_bins=1024))
    assert (result.index, float(result.scale)) == (int(np.argmin(losses)), 1.0)


def test_a_result_says_what_was_seen() -> None:
    values = np.linspace(-1, 3, 5000, dtype=np.float32)
    observer: Observer = observe(HfmgSettings(9), values)
    result = observer.finish()
    assert (result.bits, result.init_min, result.init_max, result.exact) == (9, -1.0, 3.0, False)
    width = 4 / (1 << 9)
    assert result.loss == pytest.approx(width**2 / 12, rel=0.02)
