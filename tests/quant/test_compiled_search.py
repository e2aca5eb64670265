"""The compiled loops of the searches: what the Python beside them finds, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.quant import compiled
from amctc.quant.density_loss import Grids, errors_by_cells
from amctc.quant.hfmg_search import candidate_ranges
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.mse import MseObserver
from amctc.quant.observer import IfmrObserver
from tests.quant.compiled_parts import search_code
from tests.quant.observer_streams import SHAPES, values_of

SEEDS = st.integers(0, 2**32 - 1)


def both(work: Callable[[], Any]) -> tuple[Any, Any]:
    """What `work` gives with the compiled code, and without."""
    search_code()
    with_it = work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "SEARCH", None)
        return with_it, work()


@given(SEEDS, st.integers(1, 3000), st.integers(-3000, 100), st.integers(2, 8), st.integers(0, 60))
def test_the_errors_of_cells_are_the_same(seed: int, bins: int, first: int, bits: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    counts: NDArray[np.float64] = (rng.integers(0, 1_000_000, bins) * rng.integers(0, 2, bins)).astype(np.float64)
    edges: NDArray[np.float64] = np.arange(first, first + bins + 1, dtype=np.float64) * 2.0**-power
    steps = (np.abs(edges).max() / 2 ** (bits - 1) * rng.uniform(0.3, 3, (9, 1))).astype(np.float32)
    lows = rng.integers(-(1 << bits), 1, (9, 1))
    highs = (lows + rng.integers(1, 1 << bits, (9, 1))).astype(np.float64)
    grids = Grids(steps.astype(np.float64), lows.astype(np.float64), highs)
    found, wanted = both(lambda: errors_by_cells(counts, edges, grids))
    np.testing.assert_array_equal(found, wanted)


@given(SEEDS, st.sampled_from([8, 1024, 2048]), st.integers(0, 12))
def test_the_ranges_of_hfmg_are_the_same(seed: int, bins: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4**size + 1, bins) * rng.integers(0, 2, bins)
    counts[rng.integers(0, bins)] += 1
    found, wanted = both(lambda: candidate_ranges(counts))
    assert found.dtype == wanted.dtype == np.int64
    np.testing.assert_array_equal(found.reshape(-1, 2), wanted.reshape(-1, 2))


@given(SEEDS, st.sampled_from(SHAPES), st.sampled_from([IfmrObserver, MseObserver]), st.booleans())
def test_observers_choose_the_same(seed: int, shape: str, kind: type[IfmrObserver], with_offset: bool) -> None:
    observer = kind(IfmrSettings(with_offset=with_offset), "layer", exact_limit=100)
    observer.update(values_of(shape, seed, 5000))
    found, wanted = both(observer.finish)
    assert found == wanted


def test_what_does_not_fit_is_an_error() -> None:
    steps, ranges = np.array([1, 2, 3, 3]), np.zeros((4, 2), np.int64)
    assert search_code().shed_ranges(steps, np.array([-1, 0, 1, 2]), 0, ranges) == 3
    for lefts, rights, room in (
        (steps, steps[:3], ranges),
        (steps - 1, steps, ranges),  # no side gives up a bin
        (steps, np.array([9, 9, 9, 9]), ranges),
        (steps[:0], steps[:0], ranges),
        (steps, np.array([-1, 0, 1, 2]), ranges[:2]),
    ):
        with pytest.raises(ValueError, match="no steps"):
            search_code().shed_ranges(lefts, rights, 0, room)
    narrow: Any = steps.astype(np.int32)
    with pytest.raises(TypeError, match="int64"):
        search_code().shed_ranges(narrow, steps, 0, ranges)
    one, edges = np.ones(2), np.arange(5.0)
    search_code().cell_errors(one, one, one, 2, edges, edges[1:], edges, edges, 0.0, 0.0, one.copy())
    for highs, cells, ends, evenly in (
        (one[:1], 2, edges, edges[1:]),
        (one, 0, edges, edges[1:]),
        (one, 2, edges, edges),
        (one, 2, edges[:1], edges[:0]),
    ):
        with pytest.raises(ValueError, match="lengths"):
            search_code().cell_errors(one, one, highs, cells, ends, evenly, ends, ends, 0.0, 0.0, one.copy())


@given(SEEDS, st.floats(), st.floats(), st.floats())
def test_no_number_leads_outside_the_arrays(seed: int, step: float, low: float, middle: float) -> None:
    edges = np.random.default_rng(seed).normal(size=5)
    grid = (np.array([step]), np.array([low]), np.array([low]))
    search_code().cell_errors(*grid, 7, edges, edges[1:].copy(), edges, edges, middle, 0.0, np.zeros(1))
