"""What an activation observer costs: ns for each float32 value, beside a plain copy of the same arrays.

Run `python benchmarks/observer_cost.py` with the package installed. Each line is the best of several rounds, so
that other load on the machine counts as little as possible; copy and observer take turns in every round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import IfmrObserver

FloatArray = NDArray[np.float32]

SHAPES = [(1, 96, 111, 111), (1, 64, 55, 55), (1, 16, 55, 55)]
BATCHES = 32
ROUNDS = 5


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def inputs(shape: tuple[int, ...]) -> dict[str, list[FloatArray]]:
    """Batches of each kind of data."""
    rng = np.random.default_rng(0)
    normal = [rng.standard_normal(shape, dtype=np.float32) for _ in range(BATCHES)]
    return {
        "normal": normal,
        "relu": [np.maximum(batch, 0) for batch in normal],
        "heavy": [rng.standard_t(3, shape).astype(np.float32) for _ in range(BATCHES)],
    }


def copy(batches: list[FloatArray]) -> None:
    for batch in batches:
        batch.copy()


def observe(batches: list[FloatArray], bits: int) -> IfmrObserver:
    observer = IfmrObserver(IfmrSettings(bits=bits), "bench")
    for batch in batches:
        observer.update(batch)
    return observer


def in_two_threads(pool: ThreadPoolExecutor, batches: list[FloatArray], bits: int) -> None:
    list(pool.map(partial(observe, bits=bits), (batches[::2], batches[1::2])))


def main() -> None:
    print(f"{BATCHES} batches; ns per value in one thread and in two; us per update; search in ms")
    print(f"{'shape':18} {'input':8} {'bits':>4} {'copy':>7} {'one':>7} {'two':>7} {'update':>8} {'search':>8}")
    for shape in SHAPES:
        for name, batches in inputs(shape).items():
            for bits in (8, 16):
                copies, singles, pairs = [], [], []
                with ThreadPoolExecutor(2) as pool:
                    for _ in range(ROUNDS):
                        copies.append(seconds(partial(copy, batches)))
                        singles.append(seconds(partial(observe, batches, bits)))
                        pairs.append(seconds(partial(in_two_threads, pool, batches, bits)))
                search = min(seconds(observe(batches, bits).finish) for _ in range(ROUNDS)) * 1e3
                values = BATCHES * math.prod(shape)
                each = " ".join(f"{min(times) / values * 1e9:7.2f}" for times in (copies, singles, pairs))
                text = "x".join(map(str, shape))
                print(f"{text:18} {name:8} {bits:4} {each} {min(singles) / BATCHES * 1e6:8.1f} {search:8.2f}")


if __name__ == "__main__":
    main()
