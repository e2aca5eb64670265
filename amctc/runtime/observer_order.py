"""The order in which threads that each have a batch may feed what must see the batches in their order."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from amctc.quant.hfmg import HfmgObserver
from amctc.runtime.side_by_side import Turns


class ObserverOrder:
    """Turns of some observers, by a key for each; the numbers of the batches count from 0 on."""

    def __init__(self, keys: Iterable[Hashable]) -> None:
        self._turns = {key: (Turns(), Turns()) for key in keys}

    def turn(self, key: Hashable, batch: int) -> AbstractContextManager[None]:
        """The time in which an observer is to be fed with a batch, when the batches before it have been."""
        return self._turns[key][0].of(batch)

    def update_hfmg(self, key: Hashable, observer: HfmgObserver, batch: int, array: NDArray[np.floating]) -> None:
        """What `HfmgObserver.update` does, of which only the least part waits for the batches before."""
        widened, added = self._turns[key]
        seen = observer.look(array)
        with widened.of(batch):
            span = observer.widen(seen)
        counts = observer.count(seen, span)
        with added.of(batch):
            observer.add(span, counts)

    def failed(self, batch: int) -> None:
        """Say that a batch will not come, so that nobody waits for it."""
        for turns in self._turns.values():
            for each in turns:
                each.failed(batch)
