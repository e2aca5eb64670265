"""The extreme values of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from amctc.quant.tails import Tail, extend
from tests.quant.compiled_parts import scan_code


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("size", [3, 64, 65, 1000, 5 * 64 + 63, 100_000])
@pytest.mark.parametrize("levels", [1, 7, 1 << 20])
def test_the_most_extreme_values_are_kept_wherever_they_stand(size: int, levels: int, largest: bool) -> None:
    values = np.sort(np.random.default_rng(size).integers(0, levels, size)).astype(np.float32)
    for stream in (values, values[::-1], np.roll(values, size // 3)):
        tail = Tail(64, largest)
        tail.add(stream.reshape(1, -1), stream.max(keepdims=True) if largest else stream.min(keepdims=True))
        np.testing.assert_array_equal(tail.values(), values[-64:] if largest else values[:64])


@pytest.mark.parametrize("size", [3, 64, 100_000])
def test_compiled_code_goes_on_with_what_numpy_kept(size: int) -> None:
    scan_code()
    values = np.random.default_rng(size).integers(0, 1 << 20, 3 * size).astype(np.float32)
    first, second, third = np.split(values, 3)
    lower, upper = Tail(64, largest=False), Tail(64, largest=True)
    for part in (first, second):
        lower.add(part.reshape(1, -1), part.min(keepdims=True))
        upper.add(part.reshape(1, -1), part.max(keepdims=True))
    assert extend(lower, upper, third) == (third.min(), third.max())
    values.sort()
    np.testing.assert_array_equal(lower.values(), values[:64])
    np.testing.assert_array_equal(upper.values(), values[-64:])
