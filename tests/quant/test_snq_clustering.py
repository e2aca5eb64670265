"""The clustering alone: against all clusterings of small data, against each other, and against scikit-learn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.frontends.caffe.weights import read_weights
from amctc.quant.arq import quantize_weights
from amctc.quant.snq_lloyd import cluster_rows, first_centres, sort_rows
from amctc.quant.snq_optimal import grid_rows, optimal_grid_centres
from amctc.quant.snq_settings import D2SAMPLING, GAUSSIAN, UNIFORM
from tests.quant.exact_clustering import optimal_centres
from tests.shared_files import ASSETS, needs_assets

FloatArray = NDArray[np.float64]

ALGORITHMS = (UNIFORM, GAUSSIAN, D2SAMPLING)
MODELS = {
    "squeezenet_v1.0_dc/squeezenet_v1.0_dc.caffemodel": 100,
    "cifar10_resnet20/resnet20.caffemodel": 8,
    "mnist_lenet/lenet_iter_10000.caffemodel": 50,
}
"""Every how manyth channel a test looks at; the benchmark takes all."""


def error_of(values: FloatArray, centres: FloatArray) -> float:
    """The squared error of one row about its sorted centres."""
    nearest = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, values)]
    return float(np.square(values - nearest).sum())


def iterated(values: FloatArray, algorithm: str, k: int = 16) -> FloatArray:
    return cluster_rows(sort_rows(values[np.newaxis]), algorithm, k, 1000, 1e-10).reshape(k)


def near(values: FloatArray, error: float) -> float:
    """An error that is this one but for rounding."""
    return error * (1 + 1e-9) + 1e-12 * float(np.square(values).sum())


def data(kind: str, seed: int, size: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    match kind:
        case "normal":
            return rng.standard_normal(size)
        case "heavy":
            return rng.standard_t(2, size)
        case "far from zero":
            return np.asarray(100 + rng.random(size))
        case "clumps":
            return np.asarray(rng.choice(rng.standard_normal(20), size) + 1e-3 * rng.standard_normal(size))
        case _:
            return np.rint(20 * rng.standard_normal(size))


KINDS = st.sampled_from(["normal", "heavy", "far from zero", "clumps", "few"])
SMALL = st.lists(st.integers(-12, 12), min_size=1, max_size=9).map(lambda each: np.array(each, np.float64))


@given(SMALL, st.integers(2, 4))
def test_no_partition_of_small_data_is_better_than_the_optimal_centres(values: FloatArray, k: int) -> None:
    ordered = np.sort(values)
    least = np.inf
    for cuts in combinations(range(1, len(ordered)), min(k, len(ordered)) - 1):
        runs = np.split(ordered, cuts)
        least = min(least, sum(float(np.square(run - run.mean()).sum()) for run in runs))
    assert error_of(values, optimal_centres(values, k)) == pytest.approx(least, abs=1e-9)
    for algorithm in ALGORITHMS:  # so few values are solved exactly too
        assert error_of(values, iterated(values, algorithm, k)) == pytest.approx(least, abs=1e-9)


@given(SMALL, st.integers(2, 3), st.sampled_from([1.0, 0.7, 0.5]))
def test_no_integers_of_a_small_range_are_better_than_the_optimal_ones(
    values: FloatArray, k: int, factor: float
) -> None:
    steps = values * factor
    possible = np.arange(np.floor(steps.min()), np.ceil(steps.max()) + 1)
    tables = combinations(possible, min(k, len(possible)))
    least = min(error_of(steps, np.array(table)) for table in tables)
    found = optimal_grid_centres(grid_rows(steps[np.newaxis]), k)[0]
    assert np.array_equal(found, np.rint(found))
    assert error_of(steps, found) == pytest.approx(least, abs=1e-9)


@settings(max_examples=50)
@given(KINDS, st.integers(0, 2**32), st.integers(1, 700))
def test_both_ways_to_the_optimum_lead_there(kind: str, seed: int, size: int) -> None:
    values = data(kind, seed, size)
    least = error_of(values, optimal_centres(values, 16))
    assert error_of(values, iterated(values, UNIFORM)) <= near(values, least)


@settings(max_examples=25)
@given(KINDS, st.integers(0, 2**32), st.sampled_from(ALGORITHMS))
def test_what_is_iterated_ends_close_to_the_optimum(kind: str, seed: int, algorithm: str) -> None:
    values = data(kind, seed, 3000)
    least = error_of(values, optimal_centres(values, 16))
    error = error_of(values, iterated(values, algorithm))
    assert error >= least - 1e-12 * float(np.square(values).sum())
    assert error <= near(values, least * 1.01)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rows_of_all_kinds_are_each_clustered_as_if_alone(algorithm: str) -> None:
    rows = np.stack([data(kind, 0, 2000) for kind in ("normal", "few", "heavy", "clumps")])
    rows[1, :1990] = 0
    together = cluster_rows(sort_rows(rows), algorithm, 16, 1000, 1e-10)
    for row, centres in zip(rows, together, strict=True):
        assert np.array_equal(iterated(row, algorithm), centres)
        assert (np.diff(centres) >= 0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_step_alone_is_better_than_the_first_centres(algorithm: str) -> None:
    rows = sort_rows(data("heavy", 3, 5000)[np.newaxis])
    centres = cluster_rows(rows, algorithm, 16, 1, 1e-10)[0]
    assert error_of(rows.values[0], centres) < error_of(rows.values[0], first_centres(rows, algorithm, 16)[0])


def test_first_centres_are_where_their_names_say() -> None:
    rows = sort_rows(np.stack([np.linspace(-3, 5, 900), np.full(900, 2.0)]))
    uniform, gaussian, drawn = (first_centres(rows, algorithm, 16) for algorithm in ALGORITHMS)
    assert uniform[0] == pytest.approx(np.linspace(-3, 5, 16))
    assert gaussian[0].mean() == pytest.approx(1)
    assert gaussian[0].std() == pytest.approx(np.linspace(-3, 5, 900).std(), rel=0.06)
    assert np.isin(drawn[0], rows.values[0]).all() and len(np.unique(drawn[0])) == 16
    assert all((centres[1] == 2).all() for centres in (uniform, gaussian, drawn))


def kmeans(values: FloatArray, init: FloatArray | str, seed: int = 0) -> FloatArray:
    """The sorted centres of scikit-learn's KMeans, run to its end."""
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    threads = pytest.importorskip("threadpoolctl", reason="scikit-learn is not installed")
    count = min(16, len(np.unique(values)))
    start = init if isinstance(init, str) else init[:count, np.newaxis]
    fitted = cluster.KMeans(count, init=start, n_init=1, max_iter=1000, tol=0, random_state=seed)
    with threads.threadpool_limits(1):  # so little work takes longer in several threads
        fitted.fit(values[:, np.newaxis])
    return np.sort(np.asarray(fitted.cluster_centers_[:, 0], np.float64))


def start_of(values: FloatArray, algorithm: str) -> FloatArray | str:
    """How scikit-learn starts: from our own centres, or by its own k-means++, which draws otherwise."""
    return "k-means++" if algorithm == D2SAMPLING else first_centres(sort_rows(values[np.newaxis]), algorithm, 16)[0]


@settings(max_examples=40)
@given(KINDS, st.integers(0, 2**32), st.integers(17, 400), st.sampled_from(ALGORITHMS))
def test_no_error_is_above_that_of_scikit_learn(kind: str, seed: int, size: int, algorithm: str) -> None:
    # KMeans knows no grid, so real centres are compared, before ours are rounded.
    values = data(kind, seed, size)
    theirs = error_of(values, kmeans(values, start_of(values, algorithm), seed % 1000))
    assert error_of(values, iterated(values, algorithm)) <= near(values, theirs)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["normal", "heavy", "clumps"])
def test_no_error_of_a_large_row_is_above_that_of_scikit_learn(kind: str, algorithm: str) -> None:
    values = data(kind, 5, 20_000)
    theirs = error_of(values, kmeans(values, start_of(values, algorithm)))
    assert error_of(values, iterated(values, algorithm)) <= near(values, theirs)


@needs_assets
@pytest.mark.parametrize("model", MODELS)
def test_no_error_of_a_real_channel_is_above_that_of_scikit_learn(model: str) -> None:
    for name, blobs in read_weights(ASSETS / "caffe" / model).items():
        if not blobs or blobs[0].ndim < 2:
            continue
        weights = np.asarray(blobs[0], np.float32).reshape(len(blobs[0]), -1)[:: MODELS[model]]
        scale = quantize_weights(weights, axis=0).params.scale
        rows = weights.astype(np.float64) / scale[:, np.newaxis]
        for algorithm in ALGORITHMS:
            centres = cluster_rows(sort_rows(rows), algorithm, 16, 1000, 1e-10)
            for row, ours in zip(rows, centres, strict=True):
                theirs = kmeans(row, start_of(row, algorithm))
                assert error_of(row, ours) <= near(row, error_of(row, theirs)), (name, algorithm)
                rounded = np.unique(np.clip(np.rint(theirs), -128, 127))
                best = optimal_grid_centres(grid_rows(row[np.newaxis]), 16)[0]
                assert error_of(row, best) <= near(row, error_of(row, rounded)), name


@settings(max_examples=50)
@given(st.lists(st.tuples(KINDS, st.integers(0, 2**32)), min_size=2, max_size=12), st.integers(20, 150))
def test_rows_of_many_kinds_in_one_batch_are_all_solved_exactly(rows: list[tuple[str, int]], size: int) -> None:
    # What runs are tried follows from all rows of a batch; those of few values are padded to the widest one.
    values = np.stack([data(kind, seed, size) for kind, seed in rows])
    for row, centres in zip(values, cluster_rows(sort_rows(values), UNIFORM, 16, 1000, 1e-10), strict=True):
        assert error_of(row, centres) <= near(row, error_of(row, optimal_centres(row, 16)))


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 60), st.integers(1, 70))
def test_sorted_rows_hold_each_value_once_and_count_it(seed: int, rows: int, size: int, kinds: int) -> None:
    values = np.random.default_rng(seed).integers(0, kinds, (rows, size)).astype(np.float64)
    found = sort_rows(values)
    for index, row in enumerate(values):
        distinct, times = np.unique(row, return_counts=True)
        count = len(distinct)
        assert found.distinct[index] == count
        assert np.array_equal(found.values[index, :count], distinct)
        assert (found.values[index, count:] == distinct[-1]).all()
        assert np.array_equal(np.diff(found.cells.counts[index, : count + 1]), times)
        assert (found.cells.counts[index, count:] == size).all()
        assert found.cells.sums[index, -1] == row.sum()


@pytest.mark.parametrize("k", [2, 3, 4, 16])
def test_a_single_value_far_from_the_others_is_kept_apart(k: int) -> None:
    # A gap that dwarfs all others: what a good clustering loses is then far from what the rule of thumb expects.
    values = np.concatenate((np.linspace(0, 1, 60) ** 3, [1e4]))
    least = error_of(values, optimal_centres(values, k))
    assert error_of(values, iterated(values, UNIFORM, k)) <= near(values, least)
