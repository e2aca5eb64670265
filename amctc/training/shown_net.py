"""A net of a solver that others look into: every blob of its last pass, every weight and gradient, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amctc.ir.node import Shape
from amctc.runtime.executor import blob_values
from amctc.training.fed_net import FedNet
from amctc.training.network import ForwardResult


class ShownWeight:
    """One blob of a layer, in the layer's own shape."""

    def __init__(self, tensor: torch.Tensor, shape: Shape) -> None:
        self.shape = shape
        self.is_shared = tensor.device.type == "cpu"
        """Whether `array` is the memory that training works on."""
        self._tensor = tensor

    def array(self) -> NDArray[np.float32]:
        """The numbers, float32: on a CPU their very memory, else a copy."""
        return self._tensor.detach().cpu().numpy().reshape(self.shape)

    def write(self, array: NDArray[Any]) -> None:
        """Take these numbers, of the same size."""
        with torch.no_grad():
            self._tensor.view(-1).copy_(torch.from_numpy(array.reshape(-1)))

    def gradient(self) -> NDArray[np.float32] | None:
        """The gradient, float32 in the blob's shape; None where there is none."""
        found = self._tensor.grad
        return None if found is None else found.detach().cpu().numpy().reshape(self.shape)


def _nothing() -> None:
    return None


class ShownNet(FedNet):
    """Keeps all blobs of its last pass. `before` and `after` are called around every pass."""

    before: Callable[[], None] = staticmethod(_nothing)
    after: Callable[[], None] = staticmethod(_nothing)
    _last: ForwardResult | None = None

    def forward(self, blobs: Collection[str] = ()) -> ForwardResult:
        self.before()
        fed = {value.blob for name in self.sources for value in self.graph.node(name).outputs}
        names = [name for name in blob_values(self.graph) if name not in fed]
        self._last = super().forward(names)
        self.after()
        return self._last

    def weights(self) -> dict[str, list[ShownWeight]]:
        """The blobs of every layer that has some, in the order of a caffemodel."""
        return {
            layer: [ShownWeight(weight.tensor, weight.shape) for weight in weights.values()]
            for layer, weights in self.network.table.weights.items()
        }

    def array(self, blob: str) -> NDArray[Any] | None:
        """What a blob held at the end of the last pass; None before the first, and for blobs that nothing made."""
        found = self._tensor(blob)
        return None if found is None else found.detach().cpu().numpy()

    def gradient(self, blob: str) -> NDArray[np.float32] | None:
        """The gradient of a blob of the last pass; None where it has not been gone back."""
        found = self._tensor(blob)
        if found is None or not found.requires_grad or found.grad is None:
            return None
        return found.grad.detach().cpu().numpy()

    def _tensor(self, blob: str) -> torch.Tensor | None:
        if self._last is None:
            return None
        return self._last.blobs.get(blob, self._last.inputs.get(blob))
