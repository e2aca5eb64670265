from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.arq import quantize_weights
from amctc.quant.snq_settings import INIT_ALGOS, SnqSettings
from tests.quant.clustered_layer import SnqResult, quantize_weights_snq

Weights = NDArray[np.float32]

WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=3, max_side=9),
    elements=st.floats(-2, 2, width=32, allow_subnormal=False),
)


def snq(weights: Weights, algorithm: str = "optimal", axis: int | None = 0) -> SnqResult:
    return quantize_weights_snq(weights, axis=axis, settings=SnqSettings(init_algo=algorithm), layer_name="conv1")


def normal(*shape: int) -> Weights:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def error_of(weights: Weights, result: SnqResult) -> float:
    """Of the dequantized weights against the float ones, channels first."""
    scale = result.scale.astype(np.float64).reshape((-1,) + (1,) * (weights.ndim - 1))
    return float(np.square(scale * result.values - weights).sum())


@given(WEIGHTS, st.sampled_from(INIT_ALGOS))
def test_values_codes_tables_and_errors_agree(weights: Weights, algorithm: str) -> None:
    result = snq(weights, algorithm)
    channels = len(weights)
    assert [each.dtype.name for each in (result.values, result.codes, result.table)] == ["int8", "uint8", "int8"]
    assert result.values.shape == result.codes.shape == weights.shape
    assert result.table.shape == (channels, 16) and result.scale.shape == result.errors.shape == (channels,)
    assert result.codes.max() <= 15
    assert (np.diff(result.table.astype(int), axis=1) >= 0).all()
    for values, codes, table in zip(result.values, result.codes, result.table, strict=True):
        assert np.array_equal(values, table[codes])
    assert np.array_equal(result.scale, quantize_weights(weights, axis=0).params.scale)
    assert result.error == pytest.approx(error_of(weights, result), rel=1e-9, abs=1e-12)


@given(WEIGHTS, st.sampled_from(INIT_ALGOS))
def test_each_weight_takes_the_nearest_entry_of_its_table(weights: Weights, algorithm: str) -> None:
    result = snq(weights, algorithm)
    for row, scale, table, values in zip(weights, result.scale, result.table, result.values, strict=True):
        steps = row.astype(np.float64) / scale
        distances = np.abs(steps[..., np.newaxis] - table.astype(np.float64))
        assert np.abs(steps - values) == pytest.approx(distances.min(axis=-1), abs=1e-9)


@given(WEIGHTS)
def test_optimal_has_the_least_error_of_all(weights: Weights) -> None:
    best = snq(weights).errors
    for algorithm in INIT_ALGOS:
        assert (best <= snq(weights, algorithm).errors * (1 + 1e-9) + 1e-12).all()


@given(WEIGHTS, st.sampled_from(INIT_ALGOS), st.integers(0, 9))
def test_the_order_of_the_weights_does_not_matter(weights: Weights, algorithm: str, seed: int) -> None:
    rows = weights.reshape(len(weights), -1)
    moved = np.random.default_rng(seed).permuted(rows, axis=1)
    assert snq(moved, algorithm).errors == pytest.approx(snq(rows, algorithm).errors, rel=1e-9, abs=1e-12)


@given(WEIGHTS, st.sampled_from(INIT_ALGOS))
def test_a_channel_does_not_depend_on_those_beside_it(weights: Weights, algorithm: str) -> None:
    together = snq(weights, algorithm)
    alone = snq(weights[-1:], algorithm)
    assert np.array_equal(together.values[-1:], alone.values)
    assert np.array_equal(together.table[-1:], alone.table)


@given(WEIGHTS)
def test_the_optimum_of_mirrored_weights_on_a_symmetric_grid_is_as_good(weights: Weights) -> None:
    rows = weights.reshape(len(weights), -1)
    both_ends = np.concatenate((rows, np.full((len(rows), 1), 3), np.full((len(rows), 1), -3)), axis=1)
    assert snq(-both_ends).errors == pytest.approx(snq(both_ends).errors, rel=1e-9, abs=1e-12)


def test_the_optimum_is_the_best_of_all_tables_that_can_be_tried() -> None:
    # 17 integers of the grid need one entry too many: the best table joins one pair, and all pairs are tried.
    grid = np.array([-127, -90, -80, -71, -60, -41, -30, -20, -11, 0, 9, 22, 31, 43, 70, 100, 127])
    counts = np.array([1, 2, 1, 3, 1, 1, 4, 1, 2, 5, 3, 1, 1, 2, 1, 1, 1])
    weights = np.repeat(grid, counts).astype(np.float32)[np.newaxis]
    result = snq(weights)
    assert result.scale[0] == 1
    least = np.inf
    for first, second in combinations(range(17), 2):
        for centre in range(int(grid[first]), int(grid[second]) + 1):
            table = np.append(np.delete(grid, [first, second]), centre)
            least = min(least, float(np.square(weights[0, :, np.newaxis] - table).min(axis=1).sum()))
    assert result.error == least


@pytest.mark.parametrize("algorithm", INIT_ALGOS)
def test_at_most_16_values_that_are_on_the_grid_are_kept_as_they_are(algorithm: str) -> None:
    table = np.arange(-8, 8) * 0.125
    weights = np.random.default_rng(0).choice(table, (5, 300)).astype(np.float32)
    assert snq(weights, algorithm).error <= np.square(weights / 127).sum() / 4
    uniform = quantize_weights(weights, axis=0)
    assert np.array_equal(snq(weights, algorithm).values, uniform.values)


@pytest.mark.parametrize("algorithm", INIT_ALGOS)
@pytest.mark.parametrize(("value", "entry"), [(0.0, 0), (1e-9, 0), (0.25, 127), (-0.25, -127), (1e6, 127)])
def test_a_constant_channel_has_one_entry(algorithm: str, value: float, entry: int) -> None:
    result = snq(np.full((2, 7), value, np.float32), algorithm)
    assert (result.values == entry).all() and (result.table == entry).all()
    assert (result.codes == 0).all()
    assert result.error == pytest.approx(0, abs=1e-7 * value * value + 1e-15)


@pytest.mark.parametrize("algorithm", INIT_ALGOS)
def test_one_weight_and_one_channel_are_enough(algorithm: str) -> None:
    assert snq(np.array([[0.5]], np.float32), algorithm).values.tolist() == [[127]]


@pytest.mark.parametrize("algorithm", INIT_ALGOS)
def test_channels_may_lie_on_any_axis_or_share_one_table(algorithm: str) -> None:
    weights = normal(3, 50, 2)
    first = snq(weights, algorithm)
    last = snq(np.moveaxis(weights, 0, 2), algorithm, axis=-1)
    assert np.array_equal(np.moveaxis(last.values, 2, 0), first.values)
    assert np.array_equal(np.moveaxis(last.codes, 2, 0), first.codes)
    shared = snq(weights, algorithm, axis=None)
    assert shared.table.shape == (1, 16) and shared.scale.shape == (1,)
    assert len(np.unique(shared.values)) <= 16
    assert np.array_equal(shared.values, snq(weights.reshape(1, -1), algorithm).values.reshape(weights.shape))


@pytest.mark.parametrize("algorithm", INIT_ALGOS)
def test_the_same_weights_give_the_same_result_each_time(algorithm: str) -> None:
    weights = normal(4, 3000)
    one, two = snq(weights, algorithm), snq(weights.copy(), algorithm)
    assert np.array_equal(one.values, two.values) and np.array_equal(one.table, two.table)


@pytest.mark.parametrize("algorithm", INIT_ALGOS)
def test_a_layer_wider_than_what_is_done_at_once_is_done_whole(algorithm: str) -> None:
    weights = normal(1, 1_200_000)
    result = snq(weights, algorithm)
    assert result.error == pytest.approx(error_of(weights, result), rel=1e-6)
    # The least error of 16 levels for a normal distribution is 0.009497 (Max, 1960).
    assert result.error / weights.size == pytest.approx(0.0095, rel=0.02)


def test_bad_weights_are_refused_as_for_uniform_ones() -> None:
    with pytest.raises(DiagnosticError, match=r"AM412.*`conv1` hold NaN"):
        snq(np.array([[1.0, np.nan]], np.float32))
    with pytest.raises(DiagnosticError, match=r"AM412.*`conv1` hold NaN"):
        snq(np.array([[1.0, -np.inf]], np.float32))
    with pytest.raises(DiagnosticError, match=r"AM413.*`conv1` has no weights"):
        snq(np.zeros((0, 3), np.float32))
    with pytest.raises(DiagnosticError, match=r"AM410.*`conv1`"):
        snq(np.array([[1e30, 1.0]], np.float32))


def test_settings_that_no_policy_gives_are_refused() -> None:
    with pytest.raises(ValueError, match="not random"):
        SnqSettings(init_algo="random")
    with pytest.raises(ValueError, match="at least 1"):
        SnqSettings(max_iteration=0)
    with pytest.raises(ValueError, match="not negative"):
        SnqSettings(min_distance=float("nan"))
