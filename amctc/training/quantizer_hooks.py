"""What the network asks of `amctc.training.quantizers`, which is imported when a layer is trained quantized."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from torch import Tensor

from amctc.dialects.retrain import TrainedWeights
from amctc.ir import Node

_MODULE = "amctc.training.quantizers"


class Quantizers(Protocol):
    """Quantizing and bringing back, with gradients as quantization-aware training defines them."""

    def ulq(self, x: Tensor, clip_max: Tensor, clip_min: Tensor, *, bits: int, fixed_min: bool) -> Tensor:
        """Data, float32 of any shape, on the grid of the clips ([1] each), with gradients for all three."""
        ...

    def arq_weights(self, w: Tensor, node: Node, how: TrainedWeights) -> Tensor:
        """Weights in the node's own layout, on their grid."""
        ...


def quantizers() -> Quantizers:
    """The module that quantizes in training."""
    return cast("Quantizers", import_module(_MODULE))
