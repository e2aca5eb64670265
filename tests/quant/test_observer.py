from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.ifmr import IfmrSettings, search
from amctc.quant.observer import IfmrObserver, sample_stride
from tests.quant.observer_streams import streams

FloatArray = NDArray[np.float32]


def observe(data: FloatArray, options: IfmrSettings, exact_limit: int = 0) -> IfmrObserver:
    observer = IfmrObserver(options, "conv1", exact_limit=exact_limit)
    observer.update(data)
    return observer


@settings(max_examples=80, deadline=None)
@given(streams(), st.data(), st.sampled_from([0, 500, 1 << 16]), st.sampled_from([0.999999, 0.99, 0.6, 1.0]))
def test_the_result_does_not_depend_on_split_order_or_merging(
    values: FloatArray, data: st.DataObject, exact_limit: int, percentile: float
) -> None:
    options = IfmrSettings(max_percentile=percentile, min_percentile=percentile)
    whole = observe(values, options, exact_limit).finish()
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(values.size)
    cuts = sorted(data.draw(st.lists(st.integers(0, values.size), max_size=6)))
    parts = np.split(values[order], cuts)
    pool = []
    while parts:
        observer = IfmrObserver(options, exact_limit=exact_limit)
        for _ in range(data.draw(st.integers(1, 3))):
            if parts:
                observer.update(parts.pop())
        pool.append(observer)
    while len(pool) > 1:
        target = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        target.merge(pool.pop())
        pool.append(target)
    assert pool[0].finish() == whole


@settings(max_examples=15, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1), st.sampled_from([0, 150_000, 1 << 20]))
def test_large_samples_are_counted_alike_however_they_are_batched(
    data: st.DataObject, seed: int, exact_limit: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array([1, 9, 1e-3, 2]).reshape(4, 1, 1, 1)
    large = (rng.standard_t(3, (4, 3, 150, 150)) * sizes).astype(np.float32)
    small = np.maximum(rng.standard_normal((6, 700), dtype=np.float32), 0)
    whole = observe(large, IfmrSettings(), exact_limit)
    whole.update(small)
    samples = [large[i : i + 1] for i in range(4)] + [small[i : i + 1] for i in range(6)]
    pool = [observe(samples[i], IfmrSettings(), exact_limit) for i in data.draw(st.permutations(range(10)))]
    while len(pool) > 1:
        target = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        target.merge(pool.pop())
        pool.append(target)
    assert pool[0].finish() == whole.finish()
    assert pool[0].finish().exact == (exact_limit == 1 << 20)


def test_the_layout_in_memory_does_not_matter() -> None:
    values = np.random.default_rng(5).standard_normal((2, 40, 41, 50)).astype(np.float32)
    turned = np.ascontiguousarray(values.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    assert observe(turned, IfmrSettings()).finish() == observe(values, IfmrSettings()).finish()


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((1, 96, 111, 111), 71),  # 72 has a factor in common with 111
        ((8, 64, 55, 55), 9),  # 11 and 10 have factors in common with 55
        ((1, 16, 55, 55), 2),
        ((16, 1 << 17), 8),  # no rows
        ((1 << 17,), 8),
        ((3, 90_000, 10), 53),
        ((5, 1, 90_000, 1), 5),
        ((), 1),
    ],
)
def test_the_stride_leaves_enough_values_and_meets_every_column(shape: tuple[int, ...], stride: int) -> None:
    assert sample_stride(shape) == stride


def test_values_that_are_not_counted_still_set_the_ends_and_their_errors() -> None:
    values = np.random.default_rng(6).standard_normal((4, 1 << 17)).astype(np.float32)
    values[:, 1:30:4] = np.linspace(20, 30, 32, dtype=np.float32).reshape(4, 8)
    values[0, 2] = -7
    options = IfmrSettings(max_percentile=1.0, min_percentile=1.0, search_range=(0.1, 1.3))
    result, exact = observe(values, options).finish(), search(values, options)
    assert (result.init_min, result.init_max) == (-7, 30)
    assert abs(result.index - exact.index) <= 1
    assert result.loss == pytest.approx(exact.loss, rel=0.01)


def test_merging_leaves_the_other_observer_as_it_is() -> None:
    rng = np.random.default_rng(1)
    first = observe(rng.standard_normal(1000).astype(np.float32), IfmrSettings())
    second = observe(100 * rng.standard_normal(1000).astype(np.float32), IfmrSettings())
    before = second.finish()
    first.merge(second)
    first.update(np.full(10, 1e6, np.float32))
    assert second.finish() == before
    with pytest.raises(ValueError, match="different settings"):
        first.merge(IfmrObserver(IfmrSettings(bits=9), exact_limit=0))


def test_few_values_are_searched_exactly() -> None:
    values = np.random.default_rng(2).standard_normal((4, 8, 16)).astype(np.float32)
    result = observe(values, IfmrSettings(), exact_limit=512).finish()
    exact = search(values, IfmrSettings())
    assert result.exact
    assert (result.scale, result.offset, result.index) == (exact.scale, exact.offset, exact.index)
    assert not observe(values, IfmrSettings(), exact_limit=511).finish().exact


def test_memory_does_not_grow_with_the_data() -> None:
    batch = np.random.default_rng(3).standard_normal(200_000).astype(np.float32)
    observer = observe(batch, IfmrSettings())
    after_one = observer.nbytes
    for factor in range(2, 12):
        observer.update(batch * np.float32(factor))
    assert observer.nbytes <= after_one + 2048
    assert observer.nbytes < 200_000
    assert observer.count == 11 * 200_000


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_taken_as_float32(dtype: type[np.floating]) -> None:
    values: NDArray[np.floating] = np.random.default_rng(4).standard_normal((50, 40)).astype(dtype)
    strided = observe(values[::2, ::3], IfmrSettings()).finish()
    assert strided == observe(np.ascontiguousarray(values[::2, ::3], np.float32), IfmrSettings()).finish()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("exact_limit", [0, 1 << 16])
def test_nan_or_inf_names_the_layer(bad: float, exact_limit: int) -> None:
    with pytest.raises(DiagnosticError, match=r"AM404.*activation of layer `conv1` holds NaN or Inf"):
        observe(np.array([1.0, bad, 2.0]), IfmrSettings(), exact_limit)


@pytest.mark.parametrize("exact_limit", [0, 1 << 16])
def test_what_has_no_scale_is_told_at_the_end(exact_limit: int) -> None:
    zeros = observe(np.zeros((2, 3), np.float32), IfmrSettings(), exact_limit)
    with pytest.raises(DiagnosticError, match=r"AM405.*layer `conv1` are 0") as caught:
        zeros.finish()
    assert "skip the layer" in str(caught.value)
    with pytest.raises(DiagnosticError, match=r"AM406.*`conv1`"):
        observe(np.zeros(0, np.float32), IfmrSettings(), exact_limit).finish()
    for huge in (1e37, 3.4e38):
        with pytest.raises(DiagnosticError, match=r"AM410.*`conv1` is illegal, its data range is"):
            observe(np.array([huge, -huge, 1.0], np.float32), IfmrSettings(), exact_limit).finish()
