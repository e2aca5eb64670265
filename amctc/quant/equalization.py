"""Cross-layer equalization: factors that give the channels between two layers equal ranges of weights.

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721,
section 4.1. Where there is only a positively homogeneous function between a layer W1 and a layer W2 that reads it, so
that f(s*x) = s*f(x) for s > 0, the network computes the same when output channel c of W1 is divided by s[c] and input
channel c of W2 multiplied by it. With r1[c] and r2[c] the largest magnitudes of these weights,

    s[c] = sqrt(r1[c] * r2[c]) / r2[c]

makes both sqrt(r1[c] * r2[c]): in both layers the channel then has the largest share of the range of its tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Magnitudes: TypeAlias = NDArray[np.float64]
"""[groups, Cout / groups, Cin / groups]: the largest magnitude of the weights between two channels."""

Factors: TypeAlias = NDArray[np.float64]
"""[channels]: what an output channel is divided by, and the input channel that reads it multiplied."""

SETTLED = 1e-3
"""The search is over when no factor changes by a larger part in a round."""


def equalizing_factors(chain: Sequence[Magnitudes], rounds: int, most: float) -> list[Factors]:
    """The factors for the channels between each two neighbours in a chain of layers, one array for each link.

    Each round goes once through the links, from the first to the last, and takes for each the s of the factors that
    the others have by then; rounds end when the factors have settled, and after `rounds` at the latest. A factor lies
    in 1/most to most. It stays 1 where the weights of a channel on either side are all 0, as nothing says then what it
    should be, or not finite. Every layer has as many input channels as the one before has output channels.
    """
    factors = [np.ones(first.shape[0] * first.shape[1]) for first in chain[:-1]]
    for _ in range(rounds):
        change = 0.0
        for link, (first, second) in enumerate(pairwise(chain)):
            rows = _output_ranges(first, factors[link - 1] if link else None)
            columns = _input_ranges(second, factors[link + 1] if link + 1 < len(factors) else None)
            found = _balanced(rows, columns, most)
            change = max(change, float(np.abs(found / factors[link] - 1).max(initial=0)))
            factors[link] = found
        if change <= SETTLED:
            break
    return factors


def _balanced(rows: NDArray[np.float64], columns: NDArray[np.float64], most: float) -> Factors:
    """sqrt(r1 / r2), which is the s of ranges that no factor has touched."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.sqrt(rows) / np.sqrt(columns)
    told = (rows > 0) & (columns > 0) & np.isfinite(found)
    return np.where(told, np.clip(found, 1 / most, most), 1.0)


def _output_ranges(magnitudes: Magnitudes, before: Factors | None) -> NDArray[np.float64]:
    """The largest magnitude of each output channel, where the input channels are multiplied by `before`."""
    groups, _, inputs = magnitudes.shape
    scaled = magnitudes if before is None else magnitudes * before.reshape(groups, 1, inputs)
    return np.asarray(scaled.max(axis=2, initial=0)).reshape(-1)


def _input_ranges(magnitudes: Magnitudes, behind: Factors | None) -> NDArray[np.float64]:
    """The largest magnitude of each input channel, where the output channels are divided by `behind`."""
    groups, outputs, _ = magnitudes.shape
    scaled = magnitudes if behind is None else magnitudes / behind.reshape(groups, outputs, 1)
    return np.asarray(scaled.max(axis=1, initial=0)).reshape(-1)
