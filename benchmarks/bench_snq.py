"""Non-uniform weights beside scikit-learn's KMeans: errors and seconds, for each layer and in sum.

`--model squeezenet` (or `cifar10_resnet20`, `mnist_lenet`) looks at one model alone, `--every N` at each Nth channel.
Each channel is clustered to 16 centres. KMeans (one start, one thread, until nothing moves, as we do) begins for
`uniform` and `gaussian` with our own first centres and for `d2sampling` with its k-means++. It knows no grid, so its
error is compared with ours before rounding; `optimal`, which lies on the INT8 grid, is compared with KMeans rounded to
it. Errors are in squares of a channel's INT8 step. `worse` counts channels of which our error is the larger one.
Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from networks import ASSETS
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from amctc.frontends.caffe.weights import read_weights
from amctc.quant.arq import quantize_weights
from amctc.quant.snq import LEVELS, SnqSettings
from amctc.quant.snq_lloyd import D2SAMPLING, GAUSSIAN, UNIFORM, cluster_rows, first_centres, sort_rows
from amctc.quant.snq_optimal import optimal_grid_centres

FloatArray = NDArray[np.float64]

MODELS = {
    "squeezenet": "squeezenet_v1.0_dc/squeezenet_v1.0_dc.caffemodel",
    "cifar10_resnet20": "cifar10_resnet20/resnet20.caffemodel",
    "mnist_lenet": "mnist_lenet/lenet_iter_10000.caffemodel",
}
ALGORITHMS = (UNIFORM, GAUSSIAN, D2SAMPLING)


@dataclass
class Sum:
    """What the layers add up to."""

    channels: int = 0
    worse: int = 0
    ours: float = 0
    theirs: float = 0
    our_seconds: float = 0
    their_seconds: float = 0

    def add(self, other: Sum) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def line(self, layer: str, algorithm: str) -> str:
        return (
            f"{layer:20} {algorithm:10} {self.channels:5} {self.worse:5} {self.ours:12.1f} {self.theirs:12.1f}"
            f" {self.ours / max(self.theirs, 1e-9):7.4f} {self.our_seconds * 1e3:9.2f} {self.their_seconds * 1e3:10.1f}"
            f" {self.their_seconds / self.our_seconds:7.1f}"
        )


@dataclass
class Table:
    sums: dict[str, Sum] = field(default_factory=dict)

    def add(self, layer: str, algorithm: str, found: Sum) -> None:
        print(found.line(layer, algorithm), flush=True)
        self.sums.setdefault(algorithm, Sum()).add(found)


def timed(run: Callable[[], FloatArray], repeats: int) -> tuple[FloatArray, float]:
    """The result, and the seconds of the fastest of several runs."""
    best = np.inf
    result = np.empty(0)
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return result, best


def errors_of(rows: FloatArray, centres: FloatArray) -> FloatArray:
    """The squared error of each row about its sorted centres, searched anew: no figure is taken on trust."""
    errors = np.empty(len(rows))
    for index, (row, table) in enumerate(zip(rows, centres, strict=True)):
        nearest = table[np.searchsorted((table[1:] + table[:-1]) / 2, row)]
        errors[index] = np.square(row - nearest).sum()
    return errors


def kmeans(rows: FloatArray, starts: FloatArray | None) -> FloatArray:
    """Sorted centres `[rows, 16]`; a row of fewer distinct values repeats its last centre."""
    found = np.empty((len(rows), LEVELS))
    for index, row in enumerate(rows):
        count = min(LEVELS, len(np.unique(row)))
        init = "k-means++" if starts is None else starts[index, :count, np.newaxis]
        fitted = KMeans(count, init=init, n_init=1, max_iter=1000, tol=0, random_state=0).fit(row[:, np.newaxis])
        found[index, :count] = np.sort(fitted.cluster_centers_[:, 0])
        found[index, count:] = found[index, count - 1]
    return found


def compare(layer: str, rows: FloatArray, table: Table) -> None:
    settings = SnqSettings()
    slack = 1e-12 * np.square(rows).sum(axis=1)
    grid, grid_seconds = timed(lambda: optimal_grid_centres(rows, LEVELS), 3)
    best = errors_of(rows, grid)
    for algorithm in ALGORITHMS:
        centres, seconds = timed(
            lambda name=algorithm: cluster_rows(
                sort_rows(rows), name, LEVELS, settings.max_iteration, settings.min_distance
            ),
            3,
        )
        starts = None if algorithm == D2SAMPLING else first_centres(sort_rows(rows), algorithm, LEVELS)
        others, their_seconds = timed(lambda starts=starts: kmeans(rows, starts), 1)
        ours, theirs = errors_of(rows, centres), errors_of(rows, others)
        rounded = errors_of(rows, np.clip(np.rint(others), -128, 127))
        for name, one, other, spent in (
            (algorithm, ours, theirs, seconds),
            (f"opt/{algorithm[:6]}", best, rounded, grid_seconds),
        ):
            worse = int(np.count_nonzero(one > other * (1 + 1e-9) + slack))
            table.add(layer, name, Sum(len(rows), worse, one.sum(), other.sum(), spent, their_seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    heads = f"{'ours':>12} {'KMeans':>12} {'ratio':>7} {'ours ms':>9} {'KMeans ms':>10} {'times':>7}"
    for model in options.model or MODELS:
        print(f"\n{model}\n{'layer':20} {'algorithm':10} {'rows':>5} {'worse':>5} {heads}")
        table = Table()
        for layer, blobs in read_weights(ASSETS / "caffe" / MODELS[model]).items():
            if not blobs or blobs[0].ndim < 2:
                continue
            weights = np.asarray(blobs[0], np.float32).reshape(len(blobs[0]), -1)
            scale = quantize_weights(weights, axis=0, layer_name=layer).params.scale
            compare(layer, (weights / scale[:, np.newaxis].astype(np.float64))[:: options.every], table)
        for algorithm, found in table.sums.items():
            print(found.line("in sum", algorithm))


if __name__ == "__main__":
    with threadpool_limits(1):  # in more threads KMeans is slower on rows as short as these
        main()
