"""What an activation observer costs: ns for each float32 value, beside a plain copy of the same array.

Run `python benchmarks/observer_cost.py`. Each line is the best of several rounds, so that other load on the
machine counts as little as possible; copy and observer take turns in every round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import IfmrObserver

COUNT = 4_000_000
ROUNDS = 7


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def inputs() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(COUNT, dtype=np.float32)
    return {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "heavy": rng.standard_t(3, COUNT).astype(np.float32),
        "image": rng.integers(0, 256, COUNT).astype(np.float32),
    }


def observe(data: NDArray[np.float32], bits: int, batches: int = 4) -> IfmrObserver:
    observer = IfmrObserver(IfmrSettings(bits=bits), "bench")
    for batch in np.array_split(data, batches):
        observer.update(batch)
    return observer


def main() -> None:
    print(f"{COUNT} values in 4 batches; ns per value, one thread; search in ms")
    print(f"{'input':8} {'bits':>4} {'copy':>7} {'observer':>9} {'two threads':>12} {'search':>8}")
    for name, data in inputs().items():
        target = np.empty_like(data)
        halves = np.array_split(data, 2)
        for bits in (8, 16):
            copies, updates, pairs = [], [], []
            with ThreadPoolExecutor(2) as pool:
                for _ in range(ROUNDS):
                    copies.append(seconds(lambda d=data, t=target: np.copyto(t, d)))  # type: ignore[misc]
                    updates.append(seconds(lambda d=data, b=bits: observe(d, b)))  # type: ignore[misc]
                    pairs.append(
                        seconds(lambda h=halves, b=bits, p=pool: list(p.map(lambda x: observe(x, b, 2), h)))  # type: ignore[misc]
                    )
            observer = observe(data, bits)
            search = min(seconds(observer.finish) for _ in range(ROUNDS))
            copy, update, pair = (min(times) / COUNT * 1e9 for times in (copies, updates, pairs))
            print(f"{name:8} {bits:4} {copy:7.2f} {update:9.2f} {pair:12.2f} {search * 1e3:8.2f}")


if __name__ == "__main__":
    main()
