"""In which order a data layer takes its samples, and what it draws at random: both known for any batch, at any time.

Caffe's layers go on from where they stand. Here everything follows from the number of the batch, so that a training
that is resumed sees the batches that it would have seen.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draws:
    """The random numbers of one data layer, from the seed of the training and the name of the layer."""

    seed: int
    layer: str

    def of_batch(self, number: int) -> np.random.Generator:
        """For the crops and mirrorings of a batch."""
        return self._generator(0, number)

    def of_round(self, number: int) -> np.random.Generator:
        """For the order of a round over all samples."""
        return self._generator(1, number)

    def skipped(self, most: int) -> int:
        """How many samples are passed over at the beginning: `rand_skip`, 0 … most - 1."""
        return int(self._generator(2, 0).integers(0, most)) if most > 0 else 0

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, zlib.crc32(self.layer.encode()), purpose, number))


@dataclass
class SampleOrder:
    """`count` samples, round and round; each round in an order of its own where `shuffled` says from where to draw."""

    count: int
    first: int = 0
    shuffled: Draws | None = None
    _round: int = field(default=-1, init=False)
    _order: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp), init=False)

    def at(self, place: int) -> int:
        """Which sample comes at a place, counted from the first one taken."""
        number, within = divmod(self.first + place, self.count)
        if self.shuffled is None:
            return within
        if number != self._round:
            self._round, self._order = number, self.shuffled.of_round(number).permutation(self.count)
        return int(self._order[within])

    def batch(self, number: int, size: int) -> list[int]:
        """The samples of a batch of `size`; batches count from 0."""
        return [self.at(place) for place in range(number * size, (number + 1) * size)]
