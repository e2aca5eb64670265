from __future__ import annotations

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.quant.ifmr import IfmrSettings, search, search_ratios, tail_rank
from tests.quant.ifmr_cases import recorded_cases
from tests.shared_files import needs_golden

TIE = 1e-5
"""Losses nearer than this, relative, depend on the order of a float32 sum."""


@needs_golden
def test_searches_find_the_recorded_scales() -> None:
    compared = 0
    for case in recorded_cases():
        row = case.row
        if row["input"] == "extreme":
            continue
        result = search(case.data, case.settings)
        assert (result.init_max, result.init_min) == (row["init_max"], row["init_min"]), row
        assert search_ratios(case.settings).size == row["n_candidates"]
        assert result.loss == pytest.approx(row["best_loss"], rel=1e-4, abs=1e-12), row
        gap = row["runner_up_rel"]
        if result.index != row["best_idx"]:
            assert gap is not None, row
            assert gap < TIE, row
            continue
        assert (result.scale, result.offset) == (np.float32(row["scale"]), row["offset"]), row
        assert (result.clip_max, result.clip_min) == (row["clip_max"], row["clip_min"]), row
        compared += 1
    assert compared >= 300


@needs_golden
def test_data_too_large_for_any_legal_scale_are_refused() -> None:
    refused = [case for case in recorded_cases() if case.row["input"] == "extreme"]
    assert refused
    for case in refused:
        with pytest.raises(DiagnosticError, match=r"AM410.*`conv1` is illegal, its data range is"):
            search(case.data, case.settings, "conv1")


@pytest.mark.parametrize(
    ("data", "code"),
    [([], "AM406"), ([1.0, np.nan], "AM404"), ([-np.inf, 1.0], "AM404"), ([3e38, -3e38], "AM410")],
)
def test_data_that_have_no_scale_name_the_layer(data: list[float], code: str) -> None:
    with pytest.raises(DiagnosticError, match=f"{code}.*`fc`"):
        search(np.array(data, np.float32), IfmrSettings(), "fc")


def test_the_default_search_tries_both_ends_of_its_range() -> None:
    ratios = search_ratios(IfmrSettings())
    assert ratios.size == 61
    assert (ratios[0], ratios[-1]) == (np.float32(0.7), np.float32(1.3))


def test_a_percentile_of_1_is_the_extreme_itself() -> None:
    assert tail_rank(10_000_000, 1.0) == 1
    assert tail_rank(100, 0.999999) == 1
    assert tail_rank(2_000_000, 0.999999) == 2
    assert tail_rank(4096, 0.99) == 41


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bits", 7),
        ("bits", 17),
        ("max_percentile", 0.5),
        ("min_percentile", 1.01),
        ("max_percentile", float("nan")),
        ("search_range", (0.0, 1.0)),
        ("search_range", (1.0, 1.0)),
        ("search_range", (1.0, float("inf"))),
        ("search_step", 0.0),
        ("search_step", 1e-9),
    ],
)
def test_an_illegal_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(DiagnosticError, match=f"AM407.*`{field}` cannot be"):
        IfmrSettings(**{field: value})  # type: ignore[arg-type]
