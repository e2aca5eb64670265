"""What Caffe's BatchNorm makes of its three blobs on batch statistics: the definition, and recorded figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tests.runtime.caffe_cases import CAFFE, CaffeCase, forward_cases

TOLERANCE = 1e-6
"""Of a blob's largest magnitude; a float32 has 6e-8, and the issue asks for 1e-5."""

TRAINING = CAFFE / "train"
BATCH = 8
"""Of small_bn's MemoryData layer."""

Blobs: TypeAlias = Sequence[NDArray[np.generic]]


def moving_cases() -> list[CaffeCase]:
    """The recorded passes after which the blobs of a BatchNorm were recorded too."""
    found = [case for case in forward_cases() if case.name.startswith("BatchNorm__")]
    return [case for case in found if any(name.startswith("param_after/") for name in case.recorded(0))]


def blobs_of(recorded: Mapping[str, NDArray[np.float32]], kind: str) -> dict[str, list[NDArray[np.float32]]]:
    """The three blobs of each BatchNorm, `kind/<layer>/<index>`, by layer."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for name in sorted(recorded):
        begin, _, rest = name.partition("/")
        layer = rest.rpartition("/")[0]
        if begin == kind and (layer.endswith("bn") or layer == "batchnorm"):
            found.setdefault(layer, []).append(recorded[name])
    return found


def trained(solver: str) -> Mapping[str, NDArray[np.float32]]:
    """The weights of small_bn while it was trained: `after<iteration>/<layer>/<index>`."""
    with np.load(TRAINING / f"small_bn__{solver}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def training_batch(number: int) -> NDArray[np.float32]:
    """What the net saw in forward pass `number`, from 0 on."""
    with np.load(TRAINING / "batches.npz") as arrays:
        images: NDArray[np.float32] = arrays["data"]
    start = number * BATCH % len(images)
    found: NDArray[np.float32] = images[start : start + BATCH]
    return found


def mnist_bn() -> tuple[Path, Path]:
    return CAFFE / "nets/mnist_bn.prototxt", CAFFE / "nets/mnist_bn.caffemodel"


def digits(count: int) -> NDArray[np.float32]:
    with np.load(CAFFE / "nets/digits_test.npz") as arrays:
        images = next(arrays[name] for name in arrays.files if arrays[name].ndim > 1)
    return np.asarray(images[:count].reshape(-1, 1, 28, 28) * np.float32(0.00390625), np.float32)


def step(blobs: Blobs, x: NDArray[np.float32], fraction: float) -> list[NDArray[np.float64]]:
    """The definition, one channel after the other, in float64."""
    values = x.astype(np.float64).swapaxes(0, 1).reshape(x.shape[1], -1)
    count = values.shape[1]
    means = np.array([row.sum() / count for row in values])
    spread = np.array([((row - row.mean()) ** 2).sum() / max(count - 1, 1) for row in values])
    kept = [np.asarray(blob, np.float64) * fraction for blob in blobs]
    return [kept[0] + means, kept[1] + spread, kept[2] + 1]


def difference(found: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """The largest difference over the largest magnitude; infinity where shapes differ or zeros are not zeros."""
    array, wanted = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if array.shape != wanted.shape:
        return np.inf
    apart, largest = float(np.abs(array - wanted).max(initial=0)), float(np.abs(wanted).max(initial=0))
    if not apart:
        return 0
    return apart / largest if largest else np.inf
