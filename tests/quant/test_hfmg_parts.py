"""HFMG of data that are looked at in parts: the counts must be those of one observer, in every bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.hfmg_parts import HfmgRanges, HfmgStretch
from amctc.quant.observer_state import from_bytes, to_bytes
from tests.quant.hfmg_cases import recorded_cases
from tests.shared_files import needs_golden

SETTINGS = HfmgSettings(num_of_bins=1024)


def whole(batches: list[np.ndarray], settings: HfmgSettings) -> HfmgObserver:
    observer = HfmgObserver(settings)
    for batch in batches:
        observer.update(batch)
    return observer


def in_parts(batches: list[np.ndarray], ends: list[int], settings: HfmgSettings) -> HfmgObserver:
    """The same by two looks at stretches that end at `ends`; every part goes through bytes."""
    ranges = HfmgRanges()
    for start, stop in zip([0, *ends], [*ends, len(batches)], strict=True):
        part = HfmgRanges()
        for batch in batches[start:stop]:
            part.update(batch)
        ranges.append(HfmgRanges.from_bytes(part.to_bytes()))
    assert len(ranges) == len(batches)
    observer = HfmgObserver(settings)
    for start, stop in zip([0, *ends], [*ends, len(batches)], strict=True):
        stretch = HfmgStretch(settings, "", ranges.before(start))
        for batch in batches[start:stop]:
            stretch.update(batch)
        for counted in stretch.counted:
            other = from_bytes(to_bytes(counted))
            assert isinstance(other, HfmgObserver)
            observer.merge(other)
    return observer


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    count=st.integers(1, 9),
    cut=st.lists(st.integers(0, 9), max_size=4),
    scale=st.sampled_from([0.0, 1e-9, 1.0, 1e5]),
)
def test_stretches_give_the_counts_of_the_whole_for_any_cut(
    seed: int, count: int, cut: list[int], scale: float
) -> None:
    rng = np.random.default_rng(seed)
    batches = [rng.normal(0, scale * rng.uniform(0.1, 2), rng.integers(0, 40)).astype(np.float32) for _ in range(count)]
    ends = sorted(min(end, count) for end in cut)
    one, other = whole(batches, SETTINGS), in_parts(batches, ends, SETTINGS)
    assert to_bytes(one) == to_bytes(other)


def test_merging_alone_would_not_do() -> None:
    rng = np.random.default_rng(5)
    batches = [rng.normal(0, 1 + 0.3 * number, 4000).astype(np.float32) for number in range(6)]
    merged = whole(batches[:3], SETTINGS)
    merged.merge(whole(batches[3:], SETTINGS))
    assert to_bytes(merged) != to_bytes(whole(batches, SETTINGS))
    assert to_bytes(in_parts(batches, [3], SETTINGS)) == to_bytes(whole(batches, SETTINGS))


@needs_golden
def test_the_recorded_grids_are_found_batch_by_batch_in_parts() -> None:
    compared = 0
    for case in recorded_cases():
        if "error" in case.row or case.row["input"] == "extreme" or not case.data.any() or len(case.batches) < 2:
            continue
        found = in_parts(list(case.batches), list(range(1, len(case.batches))), case.settings).finish()
        recorded = case.row["steps"][-1]
        assert (found.scale, found.offset) == (np.float32(recorded["scale"]), recorded["offset"]), case.row
        compared += 1
    assert compared > 20


def test_what_is_not_finite_is_told_at_the_first_look() -> None:
    with pytest.raises(DiagnosticError) as told:
        HfmgRanges("conv").update(np.array([1.0, np.nan], np.float32))
    assert told.value.diagnostics[0].code == "AM404"
    assert "conv" in told.value.diagnostics[0].message


@pytest.mark.parametrize("data", [b"1234", np.array([1, 0], "<f4").tobytes(), np.array([0, np.nan], "<f4").tobytes()])
def test_bytes_that_are_no_ranges_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="HFMG"):
        HfmgRanges.from_bytes(data)


def test_a_part_alone_gives_no_grid() -> None:
    for part in (HfmgRanges(), HfmgStretch(SETTINGS)):
        with pytest.raises(ValueError, match=r"grid|counts"):
            part.finish()
