from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.quant.density_loss import Grids, density_losses, errors_by_cells, errors_by_edges
from amctc.quant.histogram import Density
from amctc.quant.ifmr import Candidates


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9000), st.integers(-9000, 100), st.integers(2, 8))
def test_both_forms_of_the_error_agree(seed: int, bins: int, first: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    counts: NDArray[np.float64] = (rng.integers(0, 1_000_000, bins) * rng.integers(0, 2, bins)).astype(np.float64)
    edges: NDArray[np.float64] = np.arange(first, first + bins + 1, dtype=np.float64) * 2.0**-9
    steps = (np.abs(edges).max() / 2 ** (bits - 1) * rng.uniform(0.5, 2, (7, 1))).astype(np.float32)
    lows = rng.integers(-(1 << (bits - 1)), 1, (7, 1))
    highs = (lows + (1 << bits) - 1).astype(np.float64)
    grids = Grids(steps.astype(np.float64), lows.astype(np.float64), highs)
    by_cells, by_edges = errors_by_cells(counts, edges, grids), errors_by_edges(counts, edges, grids)
    # Where nearly all values lie on levels, both forms lose digits against the error of values spread evenly.
    usual = counts.sum() * steps[:, 0].astype(np.float64) ** 2 / 12
    assert np.all(np.abs(by_cells - by_edges) <= 1e-9 * np.maximum(by_edges, usual))


def test_a_scale_that_is_not_finite_has_an_infinite_loss() -> None:
    density = Density(np.array([1, 2, 3]), np.array([-1.0, 0.0, 1.0, 2.0]))
    scales, lows, highs = np.array([[0.5, np.inf], [-1, -1], [2, np.inf]], np.float32)
    losses = density_losses(density, Candidates(scales, lows, highs))
    # 1 value at -1 and 3 at 2, which are levels; 2 spread over two whole cells at a mean of step**2 / 12.
    assert np.allclose(losses, [2 * 0.25 / 12 / 6, np.inf])
