"""The compiled looks at values: what numpy finds, bit for bit, and nothing but errors where they are misused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant import compiled, scan
from amctc.quant.entropy import EntropyObserver
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.hfmg_histogram import count_values
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.observer import IfmrObserver
from amctc.quant.tails import Tail, extend
from tests.quant.compiled_parts import scan_code

Floats = NDArray[np.float32]

SIZES = st.integers(1, 70) | st.integers(1000, 1100) | st.integers(2040, 2060)
VALUES = st.floats(width=32)
FINITE = st.floats(-(2.0**60), 2.0**60, width=32)


def in_numpy(work: Callable[[], Any]) -> Any:
    """What `work` gives without the compiled code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "SCAN", None)
        return work()


@given(arrays(np.float32, SIZES, elements=VALUES))
def test_extremes_are_those_of_numpy(values: Floats) -> None:
    low, high, finite = scan_code().extremes(values)
    assert finite == bool(np.isfinite(values).all())
    if finite:
        assert (low, high) == (values.min(), values.max())
    else:
        assert not np.isfinite(scan.extremes(values)).all()


FEW_VALUES = st.integers(-5, 5).map(float) | VALUES


@given(st.lists(arrays(np.float32, SIZES, elements=FEW_VALUES), min_size=1), st.integers(1, 70))
def test_tails_keep_the_most_extreme_values(stream: list[Floats], room: int) -> None:
    lower, upper = np.full(room, np.nan, np.float32), np.full(room, np.nan, np.float32)
    below, above, seen = 0, 0, np.zeros(0, np.float32)
    for values in stream:
        low, high, finite, below, above = scan_code().extend_tails(values, lower, below, upper, above)
        assert finite == bool(np.isfinite(values).all())
        if not finite:
            return
        assert (low, high) == (values.min(), values.max())
        seen = np.sort(np.concatenate((seen, values)))
        assert below == above == min(room, seen.size)
        np.testing.assert_array_equal(np.sort(lower[:below]), seen[:room])
        np.testing.assert_array_equal(np.sort(upper[:above]), seen[-room:])


@given(arrays(np.float32, SIZES, elements=st.floats(-100, 100, width=32)), st.integers(1, 5), st.integers(1, 9))
def test_runs_are_counted_as_in_numpy(values: Floats, samples: int, stride: int) -> None:
    values = np.resize(values, (samples, values.size))
    factor, first = np.float32(4), -400
    counts = np.zeros(801, np.int64)
    scan_code()
    assert scan.count_runs(values, stride, first, factor, counts)
    places = np.trunc(scan.runs(values, stride) * factor).astype(np.int64).reshape(-1) - first
    np.testing.assert_array_equal(counts, stride * np.bincount(places, minlength=801))


@given(arrays(np.float32, SIZES, elements=st.floats(-(2.0**100), 2.0**100, width=32)), st.sampled_from([2, 1024, 8192]))
def test_bins_of_a_range_are_counted_as_in_numpy(values: Floats, bins: int) -> None:
    low, high = values.min(), values.max()
    scan_code()
    found = count_values(values, low, high, bins)
    np.testing.assert_array_equal(found, in_numpy(lambda: count_values(values, low, high, bins)))
    assert found.sum() == values.size


STREAMS = st.lists(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 700)), elements=FINITE), min_size=1)


OBSERVERS: dict[str, Callable[[], Any]] = {
    "ifmr": lambda: IfmrObserver(IfmrSettings(), "layer", exact_limit=100, per_sample=64),
    "entropy": lambda: EntropyObserver(IfmrSettings(), "layer"),
    "minmax": lambda: MinMaxObserver(IfmrSettings(), "layer"),
    "hfmg": lambda: HfmgObserver(HfmgSettings(num_of_bins=1024), "layer"),
}


@given(STREAMS, st.sampled_from(sorted(OBSERVERS)))
def test_observers_end_in_the_same_state(stream: list[Floats], kind: str) -> None:
    def seen() -> Any:
        observer = OBSERVERS[kind]()
        try:
            for array in stream:
                observer.update(array)
        except DiagnosticError as mistake:
            return {"mistake": str(mistake)}
        return observer.state()

    scan_code()
    one, other = seen(), in_numpy(seen)
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key], err_msg=key)


def test_arrays_with_gaps_are_left_to_numpy() -> None:
    values = np.arange(4000, dtype=np.float32).reshape(40, 100)[:, ::2]
    counts = np.zeros(4001, np.int64)
    assert scan.extremes(values) == (0, 3998)
    assert extend(Tail(64, largest=False), Tail(64, largest=True), values) is None
    assert not scan.count_runs(values, 1, 0, np.float32(1), counts)
    assert count_values(values[:, 0], np.float32(0), np.float32(3900), 1024).sum() == 40


def test_what_the_compiled_code_cannot_take_is_an_error() -> None:
    looks, values, counts = scan_code(), np.zeros(64, np.float32), np.zeros(8, np.int64)
    wrong: list[NDArray[Any]] = [
        values.astype(np.float64),
        values.astype(">f4"),
        np.frombuffer(bytearray(65), np.uint8)[1:].view(np.float32),
    ]
    for array in wrong:
        with pytest.raises(TypeError, match="float32"):
            looks.extremes(array)
        with pytest.raises(TypeError, match="int64"):
            looks.count_between(values, 0, 1, array.astype(np.int32).view())  # type: ignore[arg-type]
    for gaps in (values[::2], np.zeros((8, 8), np.float32).T):
        with pytest.raises((TypeError, ValueError, BufferError)):
            looks.extremes(gaps)
    read_only = counts.copy()
    read_only.flags.writeable = False
    with pytest.raises((TypeError, ValueError, BufferError)):
        looks.count_between(values, 0, 1, read_only)
    with pytest.raises(ValueError, match="no values"):
        looks.extremes(values[:0])
    with pytest.raises(ValueError, match="no values"):
        looks.extend_tails(values[:0], values, 0, values, 0)
    for filled in (-1, 65):
        with pytest.raises(ValueError, match="no tails"):
            looks.extend_tails(values, values.copy(), filled, values.copy(), 0)
    with pytest.raises(ValueError, match="no tails"):
        looks.extend_tails(values, values[:0], 0, values.copy(), 0)
    with pytest.raises(ValueError, match="no values"):
        looks.count_between(values[:0], 0, 1, counts)
    with pytest.raises(ValueError, match="too many"):
        looks.count_between(values, 0, 1, np.zeros((1 << 20) + 1, np.int64))
    for row, run, stride in ((0, 1, 1), (64, 0, 1), (64, 2000, 1), (64, 16, 0), (7, 16, 1), (64, 16, -1)):
        with pytest.raises(ValueError, match="no such"):
            looks.count_runs(values, row, run, stride, 0, 1.0, counts)


@given(arrays(np.float32, 40, elements=VALUES), st.floats(width=32), st.integers(-(2**31), 2**31 - 1))
def test_no_value_is_counted_outside_the_counts(values: Floats, factor: float, first: int) -> None:
    room = np.zeros(20, np.int64)
    try:
        scan_code().count_runs(values, 40, 8, 2, first, factor, room[5:15])
    except ValueError as mistake:
        assert "outside" in str(mistake)
    assert not room[:5].any() and not room[15:].any()
    *_, counted = scan_code().count_between(values, float(values[0]), factor, room[5:15])
    assert counted in (True, False) and not room[:5].any() and not room[15:].any()
