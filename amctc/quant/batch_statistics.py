"""The running mean and variance of a batch normalization: what one forward pass in training makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1 << 18
"""So many numbers are widened to float64 together: they stay in the cache, and a batch needs no second copy."""


@dataclass(frozen=True)
class RunningStatistics:
    """Sums of the means and variances of batches, each by what is left of it, and `factor`, the sum of those weights.

    float32: [channels], [channels] and [1]. Mean and variance themselves are the sums divided by `factor`.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    factor: NDArray[np.float32]


def batch_moments(x: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and biased variance of each channel of axis 1, float64 [channels] each, for [samples, channels, ...].

    There must be numbers. NaN and infinity give NaN.
    """
    samples, channels, size = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    count = samples * size
    rows = x.reshape(samples, channels, size)
    step = max(1, _AT_ONCE // (channels * size))
    sums, squares = np.zeros(channels), np.zeros(channels)
    with np.errstate(over="ignore", invalid="ignore"):
        # Differences from a number within the range of the channel: then no variance is too small beside the squares
        # to be told from them in float64, and one look at the numbers is enough.
        near = rows[0].mean(axis=1, dtype=np.float64)
        for start in range(0, samples, step):
            apart = rows[start : start + step].astype(np.float64)
            apart -= near[:, None]
            sums += np.einsum("ncs->c", apart)
            squares += np.einsum("ncs,ncs->c", apart, apart)
        mean = sums / count
        return near + mean, np.maximum(squares / count - mean * mean, 0)


def updated_statistics(before: RunningStatistics, x: NDArray[np.floating], fraction: float) -> RunningStatistics:
    """The statistics after one more batch `x`, [samples, channels, ...], of which `fraction` is left of those before.

    As Caffe's BatchNorm does it in phase TRAIN: factor * fraction + 1, mean * fraction + the batch's mean, variance *
    fraction + the batch's variance times m / (m - 1), where m is the number of values of a channel (1 for m = 1).
    A batch without a value changes nothing. `ValueError` where the channels are not those of the statistics.
    """
    if x.ndim < 2 or x.shape[1] != before.mean.size or before.variance.size != before.mean.size:
        raise ValueError(f"statistics of {before.mean.size} channels for an array of the shape {x.shape}")
    if not x.size:
        return before
    mean, variance = batch_moments(x)
    values = x.size // x.shape[1]
    unbiased = variance * (values / (values - 1)) if values > 1 else variance
    kept = float(np.float32(fraction))  # Caffe's is a float32
    return RunningStatistics(
        _added(before.mean, kept, mean), _added(before.variance, kept, unbiased), _added(before.factor, kept, 1.0)
    )


def _added(old: NDArray[np.float32], kept: float, new: NDArray[np.float64] | float) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(old.astype(np.float64) * kept + new, np.float32)
