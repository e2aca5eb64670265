"""Non-uniform weights beside scikit-learn's KMeans: errors of each layer and in sum, and seconds.

`--model squeezenet` (or `cifar10_resnet20`, `mnist_lenet`) looks at one model alone, `--every N` at each Nth channel.
Each channel is clustered to 16 centres. KMeans (one start, one thread, until nothing moves, as we do) begins for
`uniform` and `gaussian` with our own first centres and for `d2sampling` with its k-means++. It knows no grid, so its
error is compared with ours before rounding; `optimal`, which lies on the INT8 grid, is compared with KMeans rounded to
it (`opt/...`, with each of its inits). Errors are in squares of a channel's INT8 step. `worse` counts channels of which
our error is the larger one. Times are the processor's, of this process, for all layers of a model: the two take turns,
and each one's fastest run counts. Both have one thread. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from networks import ASSETS
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from amctc.frontends.caffe.weights import read_weights
from amctc.quant.arq import quantize_weights
from amctc.quant.snq import LEVELS, GridWeights, find_centres
from amctc.quant.snq_lloyd import D2SAMPLING, GAUSSIAN, UNIFORM, first_centres, sort_rows
from amctc.quant.snq_settings import OPTIMAL, SnqSettings

FloatArray = NDArray[np.float64]
Centres: TypeAlias = list[FloatArray]

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

    def add(self, other: Sum) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def line(self, layer: str, algorithm: str) -> str:
        return (
            f"{layer:20} {algorithm:10} {self.channels:5} {self.worse:5} {self.ours:12.1f} {self.theirs:12.1f}"
            f" {self.ours / max(self.theirs, 1e-9):7.4f}"
        )


def timed(*runs: Callable[[], Centres], repeats: int) -> list[tuple[Centres, float]]:
    """What each one gives, and the processor's seconds of the fastest of its runs; they take turns."""
    seconds = [np.inf] * len(runs)
    results: list[Centres] = [[]] * len(runs)
    for _ in range(repeats):
        for index, run in enumerate(runs):
            start = time.process_time()
            results[index] = run()
            seconds[index] = min(seconds[index], time.process_time() - start)
    return list(zip(results, seconds, strict=True))


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


def compare(layers: Mapping[str, GridWeights], repeats: int) -> None:
    """All layers of a model with each algorithm, and `optimal` beside it."""
    weights = list(layers.values())
    steps = [layer.steps(slice(None)) for layer in weights]
    for algorithm in ALGORITHMS:
        starts = [None if algorithm == D2SAMPLING else first_centres(sort_rows(r), algorithm, LEVELS) for r in steps]
        (ours, seconds), (grid, grid_seconds), (theirs, their_seconds) = timed(
            lambda name=algorithm: find_centres(weights, SnqSettings(init_algo=name)),
            lambda: find_centres(weights, SnqSettings(init_algo=OPTIMAL)),
            lambda starts=starts: [kmeans(rows, start) for rows, start in zip(steps, starts, strict=True)],
            repeats=repeats,
        )
        rounded = [np.clip(np.rint(centres), -128, 127) for centres in theirs]
        for name, one, other, spent in (
            (algorithm, ours, theirs, seconds),
            (f"opt/{algorithm[:6]}", grid, rounded, grid_seconds),
        ):
            total = Sum()
            for layer, rows, own, others in zip(layers, steps, one, other, strict=True):
                slack = 1e-12 * np.square(rows).sum(axis=1)
                mine, theirs_ = errors_of(rows, own), errors_of(rows, others)
                worse = int(np.count_nonzero(mine > theirs_ * (1 + 1e-9) + slack))
                found = Sum(len(rows), worse, mine.sum(), theirs_.sum())
                print(found.line(layer, name), flush=True)
                total.add(found)
            times = f"ours {spent * 1e3:.0f} ms, KMeans {their_seconds * 1e3:.0f} ms: {their_seconds / spent:.1f} times"
            print(f"{total.line('in sum', name)}   {times}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    for model in options.model or MODELS:
        heads = f"{'rows':>5} {'worse':>5} {'ours':>12} {'KMeans':>12} {'ratio':>7}"
        print(f"\n{model}\n{'layer':20} {'algorithm':10} {heads}")
        layers: dict[str, GridWeights] = {}
        for layer, blobs in read_weights(ASSETS / "caffe" / MODELS[model]).items():
            if not blobs or blobs[0].ndim < 2:
                continue
            weights = np.asarray(blobs[0], np.float32).reshape(len(blobs[0]), -1)
            scale = quantize_weights(weights, axis=0, layer_name=layer).params.scale
            layers[layer] = GridWeights(weights[:: options.every], scale[:: options.every])
        compare(layers, options.repeats)


if __name__ == "__main__":
    with threadpool_limits(1):  # in more threads KMeans is slower on rows as short as these
        main()
