"""The batches that are run side by side: as many as memory is to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.ir.node import Shape

Kept = Mapping[str, NDArray[np.generic]]


def batches_within(
    bytes_alive: Callable[[Mapping[str, Shape]], int], batches: Iterable[Mapping[str, ArrayLike]], most_bytes: int
) -> list[Kept]:
    """The first of the batches, as many as take `most_bytes` together, and at least one where there is one.

    `bytes_alive` says what a batch takes whose inputs have these shapes. They are copies, as a data set may use its
    arrays again.
    """
    source = iter(batches)
    first = next(source, None)
    if first is None:
        return []
    shapes = {name: np.shape(array) for name, array in first.items()}
    count = max(1, most_bytes // max(1, bytes_alive(shapes)))
    return [
        {name: np.array(array) for name, array in feeds.items()} for feeds in islice(chain((first,), source), count)
    ]
