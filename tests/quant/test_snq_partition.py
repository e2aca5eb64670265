"""The best runs of cells: against a plain dynamic programme, also where many divisions are equally good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.quant import snq_partition
from amctc.quant.snq_lloyd import sort_rows
from amctc.quant.snq_optimal import grid_rows
from amctc.quant.snq_partition import best_edges
from amctc.quant.snq_runs import Cells, run_gains

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def most_gained(counts: FloatArray, sums: FloatArray, k: int, on_grid: bool) -> float:
    """What the best `k` runs of one row gain, by trying each start of each last run; running totals as of `Cells`."""
    size = len(counts) - 1
    best = np.concatenate(([0.0], np.full(size, -np.inf)))
    for _ in range(min(k, size)):
        before, best = best, np.full(size + 1, -np.inf)
        for end in range(1, size + 1):
            best[end] = np.max(before[:end] + run_gains(counts[end] - counts[:end], sums[end] - sums[:end], on_grid))
    return float(best[size])


def check(cells: Cells, sizes: IntArray, k: int, on_grid: bool) -> None:
    cells = cells.at_least(k)
    edges = best_edges(cells, sizes, k, on_grid=on_grid)
    assert edges.shape == (len(sizes), k + 1)
    assert (edges[:, 0] == 0).all() and (edges[:, k] == cells.counts.shape[1] - 1).all()
    assert (np.diff(edges, axis=1)[sizes >= k] > 0).all()
    gains = run_gains(*cells.totals(edges), on_grid).sum(axis=1)
    for index, (size, gain) in enumerate(zip(sizes, gains, strict=True)):
        most = most_gained(cells.counts[index, : size + 1], cells.sums[index, : size + 1], k, on_grid)
        assert gain == pytest.approx(most, rel=1e-12, abs=1e-12), index


def check_values(rows: FloatArray, k: int) -> None:
    found = sort_rows(rows)
    check(found.cells, found.distinct, k, on_grid=False)
    grid = grid_rows(rows)
    check(grid.cells, grid.sizes, k, on_grid=True)


def data(kind: str, seed: int, size: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    match kind:
        case "normal":
            return np.asarray(30 * rng.standard_normal(size))
        case "heavy":
            return np.asarray(rng.standard_t(1, size))
        case "evenly spaced":
            return np.arange(size, dtype=np.float64) - size / 2
        case "symmetric":
            half = 20 * rng.standard_normal(size // 2)
            return np.concatenate((half, -half, np.zeros(size % 2)))
        case "repeated":
            return np.asarray(rng.choice(np.rint(20 * rng.standard_normal(30)), size))
        case "nearly even":
            return np.asarray(np.arange(size) + 1e-7 * rng.standard_normal(size))
        case "beyond the grid":
            return np.asarray(300 * rng.standard_normal(size))
        case _:
            return np.asarray(np.cumsum(rng.choice([1e-3, 1, 100], size)), np.float64)


KINDS = st.sampled_from(
    [
        "normal",
        "heavy",
        "evenly spaced",
        "symmetric",
        "repeated",
        "nearly even",
        "beyond the grid",
        "gaps",
    ]
)
ROW = st.tuples(KINDS, st.integers(0, 2**32))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(KINDS, st.integers(0, 2**32)), min_size=1, max_size=5), st.integers(1, 70), st.integers(2, 17)
)
def test_no_division_gains_more_than_the_one_found(rows: list[tuple[str, int]], size: int, k: int) -> None:
    check_values(np.stack([data(kind, seed, size) for kind, seed in rows]), k)


@pytest.mark.parametrize("size", [*range(2, 40), 100])
@pytest.mark.parametrize("k", [2, 3, 16])
def test_values_at_even_distances_where_many_divisions_are_equally_good(size: int, k: int) -> None:
    even = np.arange(size, dtype=np.float64)
    check_values(np.stack([even, even % 7 * 5, -np.abs(even - size / 2)]), k)


@pytest.mark.parametrize("first", [1e-9, 1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("rounds", [1, 6])
def test_the_first_price_and_how_many_are_tried_do_not_matter(
    first: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one round alone the search between ends starts from as many or as few runs as there can be.
    monkeypatch.setattr(snq_partition, "_FIRST", first)
    monkeypatch.setattr(snq_partition, "_ROUNDS", rounds)
    kinds = ("normal", "heavy", "evenly spaced", "symmetric", "repeated", "nearly even", "gaps")
    check_values(np.stack([data(kind, 4, 60) for kind in kinds]), 16)


@pytest.mark.parametrize("on_grid", [False, True])
def test_the_rows_of_this_test_are_solved_in_each_way(on_grid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some by a price alone, some between the ends of fewer runs, some between those of more.
    distances: list[int] = []
    interleaved = snq_partition._interleaved  # pyright: ignore[reportPrivateUsage]

    def spied(path: IntArray, found: IntArray, k: int) -> tuple[IntArray, IntArray]:
        distances.extend((found - k).tolist())
        return interleaved(path, found, k)

    monkeypatch.setattr(snq_partition, "_interleaved", spied)
    rows = np.stack([data("normal", seed, 80) for seed in range(30)])
    found, grid = sort_rows(rows), grid_rows(rows)
    cells, sizes = (grid.cells, grid.sizes) if on_grid else (found.cells, found.distinct)
    check(cells, sizes, 16, on_grid)
    assert {-1, 0, 1} <= set(distances)


def test_rows_of_many_lengths_are_divided_together() -> None:
    rows = np.stack([data("normal", seed, 200) for seed in range(40)])
    for index, row in enumerate(rows):
        row[: 5 * index] = row[-1]
    check_values(rows, 16)


def test_a_row_that_no_price_divides_well_is_still_divided_exactly() -> None:
    # 20 to 31 even steps: any number of pairs costs the same, so prices give all values alone or all in pairs.
    for size in (20, 25, 31):
        found = sort_rows(np.arange(size, dtype=np.float64)[np.newaxis])
        edges = best_edges(found.cells, found.distinct, 16, on_grid=False)
        lengths = np.diff(edges[0])
        assert np.bincount(lengths, minlength=3).tolist() == [0, 32 - size, size - 16]


def test_values_so_close_that_their_squares_vanish_are_divided_all_the_same() -> None:
    found = sort_rows(1e-170 * np.arange(30, dtype=np.float64)[np.newaxis])
    assert (np.diff(best_edges(found.cells, found.distinct, 16, on_grid=False)) > 0).all()
