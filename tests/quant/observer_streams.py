"""Data for observers, split and merged at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.quant.state_parts import State

FloatArray = NDArray[np.float32]

SHAPES = ("normal", "relu", "relu6", "laplace", "heavy", "negative", "lone outlier")


class Merging(Protocol):
    """What the tests need of an observer."""

    def update(self, array: FloatArray, /) -> None: ...
    def merge(self, other: Self, /) -> None: ...
    def finish(self) -> IfmrResult: ...
    def state(self) -> State: ...


M = TypeVar("M", bound=Merging)


def values_of(shape: str, seed: int, count: int) -> FloatArray:
    """Values as layers have them, `(count,)`."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(count) * 3
    match shape:
        case "relu":
            values = np.maximum(values, 0)
        case "relu6":
            values = np.clip(values, 0, 6)
        case "laplace":
            values = rng.laplace(0.5, 2, count)
        case "heavy":
            values = rng.standard_t(2.5, count)
        case "negative":
            values = -np.abs(values)
        case "lone outlier":
            values[count // 2] = 1000
        case _:
            pass
    return values.astype(np.float32)


@st.composite
def streams(draw: st.DrawFn) -> FloatArray:
    """Values of very different sizes, many zeros of both signs, now and then only one side; 1 is among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(2, 3000))
    sizes = np.exp2(rng.integers(draw(st.integers(-90, 0)), draw(st.integers(1, 20)), count))
    values = rng.standard_normal(count) * sizes * rng.integers(0, 2, count)
    values[0] = 1.0
    side = draw(st.sampled_from(["both", "positive", "negative"]))
    if side != "both":
        values = np.abs(values) if side == "positive" else -np.abs(values)
    return values.astype(np.float32)


def merged_at_random(data: st.DataObject, parts: Sequence[FloatArray], make: Callable[[], M]) -> M:
    """One observer that has seen all parts, each by one of several, which are merged in some order."""
    left = list(parts)
    pool: list[M] = []
    while left or not pool:
        observer = make()
        for _ in range(data.draw(st.integers(1, 3))):
            if left:
                observer.update(left.pop())
        pool.append(observer)
    while len(pool) > 1:
        target = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        target.merge(pool.pop())
        pool.append(target)
    return pool[0]


def pieces(data: st.DataObject, values: FloatArray) -> list[FloatArray]:
    """The values in another order, cut anywhere."""
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(values.size)
    cuts = sorted(data.draw(st.lists(st.integers(0, values.size), max_size=6)))
    return [np.asarray(part) for part in np.split(values[order], cuts)]


def settings_of(bits: int, with_offset: bool, percentile: float) -> IfmrSettings:
    return IfmrSettings(bits, with_offset, percentile, percentile)
