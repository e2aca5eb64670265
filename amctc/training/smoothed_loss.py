"""The mean of the last losses, as Caffe's log has it."""

from __future__ import annotations

import numpy as np


class SmoothedLoss:
    """The mean of up to `most` losses, kept as Caffe keeps it, in float32: rounding errors and all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._losses: list[np.float32] = []
        self.value = np.float32(0)

    def add(self, loss: float, since: int) -> np.float32:
        """Take in a loss; `since` is how many iterations have been made since the mean was begun."""
        new = np.float32(loss)
        with np.errstate(all="ignore"):
            if len(self._losses) < self._most:
                self._losses.append(new)
                count = np.float32(len(self._losses))
                self.value = np.float32((self.value * (count - np.float32(1)) + new) / count)
            else:
                place = since % self._most
                self.value = np.float32(self.value + (new - self._losses[place]) / np.float32(self._most))
                self._losses[place] = new
        return self.value
