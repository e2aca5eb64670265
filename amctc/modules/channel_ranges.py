"""The largest magnitudes of the channels that layers of a torch module read, over the batches that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(eq=False)
class ChannelMagnitudes:
    """A `Watcher`; `axes` says for each layer on which axis its channels lie.

    After each batch `seen` is called with what is known by then: float32 [C] for each layer that has run. Of several
    batches the largest of all counts, where AMCT takes the last one's.
    """

    axes: Mapping[str, int]
    seen: Callable[[Mapping[str, NDArray[np.float32]]], None]
    _most: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])

    def begin_batch(self) -> None:
        pass

    def see(self, layer: str, data: torch.Tensor) -> None:
        axis = self.axes[layer] % data.ndim
        others = [each for each in range(data.ndim) if each != axis]
        most = data.detach().float().abs().amax(dim=others)
        self._most[layer] = torch.maximum(self._most[layer], most) if layer in self._most else most

    def end_batch(self) -> None:
        self.seen({layer: most.cpu().numpy() for layer, most in self._most.items()})
