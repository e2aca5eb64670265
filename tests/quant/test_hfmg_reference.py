"""HFMG against a slow form of it, on data nobody chose."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.hfmg_histogram import RangeHistogram
from amctc.quant.hfmg_search import (
    candidate_ranges,
    least_losses,
    range_errors_by_cells,
    range_errors_by_edges,
    range_losses,
    search,
)
from tests.quant.hfmg_cases import EPSILON, FloatArray, SlowHistogram, slow_error, slow_ranges


@st.composite
def batches(draw: st.DrawFn) -> list[FloatArray]:
    """A few batches of values of very different sizes and places, many of them zeros or alike."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found: list[FloatArray] = []
    for _ in range(draw(st.integers(1, 5))):
        values = rng.standard_normal(draw(st.integers(1, 150))) * 2.0 ** draw(st.integers(-30, 12))
        values += draw(st.sampled_from([0.0, 0.0, 1.0, -300.0]))
        kind = draw(st.sampled_from(["plain", "relu", "heavy", "constant"]))
        if kind == "relu":
            values = np.maximum(values, 0)
        elif kind == "heavy":
            values[: values.size // 5] *= 50
        elif kind == "constant":
            values[:] = values[0]
        found.append(values.astype(np.float32))
    return found


def observe(options: HfmgSettings, stream: list[FloatArray]) -> HfmgObserver:
    observer = HfmgObserver(options, "conv1")
    for batch in stream:
        observer.update(batch)
    return observer


def histogram_of(observer: HfmgObserver) -> RangeHistogram:
    assert observer.histogram is not None
    return observer.histogram


@settings(max_examples=60, deadline=None)
@given(batches(), st.sampled_from([8, 8, 11, 16]), st.booleans(), st.data())
def test_an_observer_does_what_the_slow_form_does(
    stream: list[FloatArray], bits: int, with_offset: bool, data: st.DataObject
) -> None:
    options = HfmgSettings(bits, with_offset, 1024)
    histogram = histogram_of(observe(options, stream))
    slow = SlowHistogram(1024)
    for batch in stream:
        slow.add(batch)
    assert slow.counts is not None
    assert (histogram.low, histogram.high, histogram.counts.tolist()) == (slow.low, slow.high, slow.counts)
    assert sum(slow.counts) == sum(batch.size for batch in stream)

    ranges = candidate_ranges(histogram.counts)
    assert list(map(tuple, ranges.tolist())) == slow_ranges(slow.counts)
    losses, width = range_losses(histogram, ranges, bits), histogram.width
    for i in data.draw(st.lists(st.integers(0, len(ranges) - 1), max_size=3)):
        left, right = ranges[i].tolist()
        narrow = float(width * np.float32(right - left + 1) / np.float32(1 << bits)) < EPSILON
        error = 0.0 if narrow else slow_error(slow.counts, left, right, 1 << bits) * float(width) ** 2
        assert losses[i] == pytest.approx(error, rel=1e-6)
    result = search(histogram, options)
    assert result.index == losses.argmin()
    assert result.loss == losses.min() / histogram.counts.sum()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30) | st.just(0) | st.integers(0, 10**6), min_size=16, max_size=64), st.integers(2, 6))
def test_the_choice_is_that_of_the_slow_form_up_to_ties(counts: list[int], bits: int) -> None:
    counts[0], counts[-1] = max(counts[0], 1), max(counts[-1], 1)
    histogram = RangeHistogram(np.float32(-1), np.float32(2), np.array(counts))
    ranges = candidate_ranges(histogram.counts)
    assert list(map(tuple, ranges.tolist())) == slow_ranges(counts)
    slow = [slow_error(counts, left, right, 1 << bits) for left, right in ranges.tolist()]
    index = int(np.argmin(range_losses(histogram, ranges, bits)))
    assert slow[index] <= min(slow) * (1 + 1e-9)
    floats = np.array(counts, np.float64)
    for errors in (range_errors_by_cells, range_errors_by_edges):
        assert errors(floats, ranges, 1 << bits) == pytest.approx(slow, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1024, 4096]), st.sampled_from([8, 12, 16]))
def test_candidates_that_are_left_out_could_not_have_won(seed: int, bins: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    spread: NDArray[np.float64] = np.exp(-np.abs(np.linspace(-1, 1, bins)) * rng.uniform(0, 60))
    counts = rng.poisson(spread * rng.choice([3, 300, 30_000]))
    counts[[0, -1]] += 1
    histogram = RangeHistogram(np.float32(0), np.float32(rng.choice([1e-3, 1, 50])), counts)
    ranges = candidate_ranges(counts)
    every, some = range_losses(histogram, ranges, bits), least_losses(histogram, ranges, bits)
    assert some.argmin() == every.argmin()
    kept = np.isfinite(some)
    assert np.array_equal(some[kept], every[kept])
    assert np.all(every[~kept] > every.min())


@settings(max_examples=40, deadline=None)
@given(batches(), st.sampled_from([8, 16]), st.booleans())
def test_with_the_full_range_the_loss_is_never_worse(stream: list[FloatArray], bits: int, with_offset: bool) -> None:
    options = HfmgSettings(bits, with_offset, 1024)
    observer = observe(options, stream)
    usual = search(histogram_of(observer), options)
    full = search(histogram_of(observer), dataclasses.replace(options, full_range=True))
    assert full.loss <= usual.loss
    if full.index:
        assert dataclasses.replace(full, index=full.index - 1) == usual


@settings(max_examples=60, deadline=None)
@given(batches(), st.data())
def test_merged_observers_have_seen_every_value_and_their_union(stream: list[FloatArray], data: st.DataObject) -> None:
    options = HfmgSettings(num_of_bins=1024)
    pool = [observe(options, [batch]) for batch in stream]
    before = [histogram_of(observer).counts.copy() for observer in pool]
    others = list(pool)
    while len(pool) > 1:
        target = HfmgObserver(options)
        target.merge(pool.pop(data.draw(st.integers(0, len(pool) - 1))))
        target.merge(pool.pop())
        target.merge(HfmgObserver(options))
        pool.append(target)
    values = np.concatenate(stream)
    merged = histogram_of(pool[0])
    assert (merged.low, merged.high, merged.counts.sum()) == (values.min(), values.max(), values.size)
    assert merged.counts.min() >= 0
    for observer, counts in zip(others, before, strict=True):
        assert np.array_equal(histogram_of(observer).counts, counts)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_without_a_growing_range_neither_split_nor_order_nor_merging_matters(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(2000).astype(np.float32)
    ends = np.array([values.min(), values.max()])
    options = HfmgSettings(num_of_bins=1024)
    whole = observe(options, [ends] * parts + [values])
    pieces = np.array_split(rng.permutation(values), parts)
    updated = observe(options, [ends] * parts + pieces)
    merged = HfmgObserver(options)
    for piece in pieces:
        merged.merge(observe(options, [ends, piece]))
    for observer in (updated, merged):
        assert np.array_equal(histogram_of(observer).counts, histogram_of(whole).counts)
        assert observer.finish() == whole.finish()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(width=32), max_size=20), max_size=4), st.sampled_from([8, 16]), st.booleans())
def test_any_float_gives_a_legal_grid_or_a_diagnostic(stream: list[list[float]], bits: int, with_offset: bool) -> None:
    options = HfmgSettings(bits, with_offset, 1024)
    try:
        result = observe(options, [np.array(batch, np.float32) for batch in stream]).finish()
    except DiagnosticError as problem:
        assert problem.diagnostics[0].code in ("AM404", "AM405", "AM406", "AM410")
        return
    assert 1.192092896e-7 < result.scale < 8388608
    assert -(1 << (bits - 1)) <= result.offset < 1 << (bits - 1)
