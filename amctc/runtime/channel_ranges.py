"""The ranges of the input channels of linear layers over calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import error
from amctc.ir import Graph, Node
from amctc.runtime.executor import Executor


@dataclass(frozen=True, eq=False)
class ChannelRange:
    """The least and the largest number of each channel, float32 [C]."""

    least: NDArray[np.float32]
    most: NDArray[np.float32]

    @property
    def magnitudes(self) -> NDArray[np.float32]:
        """The largest magnitudes."""
        return np.maximum(np.abs(self.least), np.abs(self.most))

    def divided(self, factors: NDArray[np.floating]) -> ChannelRange:
        """The ranges when each channel is divided by a positive factor [C]."""
        divisors = factors.astype(np.float32)
        return ChannelRange(self.least / divisors, self.most / divisors)

    def joined(self, other: ChannelRange) -> ChannelRange:
        """The range of both: of two parts of the data, in any order."""
        return ChannelRange(np.minimum(self.least, other.least), np.maximum(self.most, other.most))


def channel_ranges(
    graph: Graph,
    axes: Mapping[Node, int],
    batches: Iterable[Mapping[str, ArrayLike]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[Node, ChannelRange]:
    """The ranges of the channels of what each of some layers reads first, over all batches.

    `axes` says for each layer on which axis they lie. One batch of activations is alive at a time; nothing is kept of
    it but the ranges. `progress` is told how many batches are done. Raises `DiagnosticError`: AM404 for NaN and
    infinity, and what `Executor.run` raises.
    """
    executor = Executor(graph, fetch=list(dict.fromkeys(node.inputs[0] for node in axes)))
    found: dict[Node, ChannelRange] = {}
    for done, feeds in enumerate(batches, 1):
        arrays = executor.run(feeds)
        for node, axis in axes.items():
            seen = _range(node, arrays[node.inputs[0]], axis)
            found[node] = found[node].joined(seen) if node in found else seen
        progress(done)
    return found


def _range(node: Node, array: NDArray[Any], axis: int) -> ChannelRange:
    others = tuple(index for index in range(array.ndim) if index != axis)
    least, most = (np.asarray(each, np.float32) for each in (array.min(axis=others), array.max(axis=others)))
    if not (np.isfinite(least).all() and np.isfinite(most).all()):
        message = f"the data of layer `{node.name}` hold NaN or Inf, and so would the ranges of their channels"
        raise error("AM404", message, help="check the calibration data and the weights up to the layer")
    return ChannelRange(least, most)
