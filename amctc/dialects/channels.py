"""Weights of convolutions by the channels of their output and of their input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def by_channels(weight: NDArray[np.generic], group: int) -> NDArray[np.generic]:
    """[Cout, Cin/g, k...] as [g, Cout/g, Cin/g, product of k], a view."""
    outputs, inputs = weight.shape[:2]
    return weight.reshape(group, outputs // group, inputs, -1)


def by_channels_transposed(weight: NDArray[np.generic], group: int) -> NDArray[np.generic]:
    """[Cin, Cout/g, k...] as [g, Cout/g, Cin/g, product of k], a view."""
    inputs, outputs = weight.shape[:2]
    return weight.reshape(group, inputs // group, outputs, -1).swapaxes(1, 2)
