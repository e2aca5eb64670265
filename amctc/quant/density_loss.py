"""The IFMR error of candidate scales on a histogram, in closed form.

A value x goes to the level `n * s` with `n = clip(round(x / s), lo, hi)`, and so, with `r = x - n * s`, the
squared error `r**2` has the integral `F(x) = n * s**3 / 12 + r**3 / 3`, which is continuous over all levels
and beyond both ends. A bin whose values are spread evenly over `[e0, e1]` has the mean error `(F(e1) -
F(e0)) / (e1 - e0)`.

The two outer bins are taken as so many values at the minimum and the maximum themselves. That is what they
are where it matters: zeros after a ReLU, values at the ceiling of a ReLU6, the lone outlier that a clip
would cut.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.quant.histogram import Density
from amctc.quant.ifmr import Candidates

Array: TypeAlias = NDArray[np.float64]


def density_losses(density: Density, candidates: Candidates) -> Array:
    """Mean squared error of each candidate, shape `(candidates,)`, float64; `O(candidates * bins)`."""
    counts, edges = density.counts.astype(np.float64), density.edges
    ends = edges[[0, -1]]
    # All values in one bin: it is both ends.
    end_counts = counts[[0, -1]] / (1 if counts.size > 1 else 2)
    inner = edges[1:-1]
    evenly = counts[1:-1] / np.diff(inner)
    losses = np.empty(candidates.scales.size)
    for i, scale in enumerate(candidates.scales):
        # In float32, as the exact search does, so that both stop at the same levels.
        low, high = float(np.rint(candidates.lows[i] / scale)), float(np.rint(candidates.highs[i] / scale))
        step = float(scale)
        total = float(np.sum(end_counts * (ends - step * _level(ends, step, low, high)) ** 2))
        if evenly.size:
            total += float(np.sum(evenly * np.diff(_error_integral(inner, step, low, high))))
        losses[i] = total
    return losses / float(counts.sum())


def _level(x: Array, step: float, low: float, high: float) -> Array:
    return np.clip(np.rint(x / step), low, high)


def _error_integral(x: Array, step: float, low: float, high: float) -> Array:
    level = _level(x, step, low, high)
    rest = x - level * step
    return np.asarray(level * (step**3 / 12) + rest * rest * rest / 3)


def density_quantile(density: Density, rank: int, largest: bool) -> np.float32:
    """The `rank`-th largest (or smallest) value, 1 the most extreme, placed evenly inside its bin.

    It is off by less than the width of that bin.
    """
    counts, edges = density.counts, density.edges
    if largest:
        counts, edges = counts[::-1], -edges[::-1]
    cumulated = np.cumsum(counts)
    i = int(np.searchsorted(cumulated, rank))
    inside = rank - (int(cumulated[i]) - int(counts[i]))
    value = edges[i] + (edges[i + 1] - edges[i]) * ((inside - 1) / int(counts[i]))
    return np.float32(-value if largest else value)
