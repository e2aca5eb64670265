"""What is to be quantized at a node, and with which factors: annotations, no arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amctc.quant.ifmr import IfmrSettings


@dataclass(frozen=True)
class InputQuant:
    """How one data input of a layer is quantized; the factors are None until calibration."""

    index: int
    settings: IfmrSettings
    scale: float | None = None
    offset: int | None = None

    @property
    def bits(self) -> int:
        return self.settings.bits


@dataclass(frozen=True, eq=False)
class WeightQuant:
    """How a layer's weights are quantized.

    `scale` is float32, of length 1 or of the number of output channels; it is None until the
    weights have been quantized. `axis` is the output-channel axis of the weight array.
    """

    algorithm: str
    bits: int
    channel_wise: bool
    scale: NDArray[np.float32] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightQuant):
            return NotImplemented
        mine = (self.algorithm, self.bits, self.channel_wise)
        if mine != (other.algorithm, other.bits, other.channel_wise):
            return False
        if self.scale is None or other.scale is None:
            return self.scale is other.scale
        return np.array_equal(self.scale, other.scale)

    __hash__ = None  # type: ignore[assignment]  # an array is inside


@dataclass(frozen=True)
class NodeQuant:
    """The annotation of one layer; `rule` is the place in the policy that gave it."""

    inputs: tuple[InputQuant, ...]
    weight: WeightQuant | None = None
    rule: str | None = None

    def with_input(self, index: int, scale: float, offset: int) -> NodeQuant:
        """The same annotation with the factors of input `index` filled in."""
        inputs = tuple(replace(q, scale=scale, offset=offset) if q.index == index else q for q in self.inputs)
        return replace(self, inputs=inputs)

    def with_weight_scale(self, scale: NDArray[np.float32]) -> NodeQuant:
        """The same annotation with the weight scales filled in."""
        if self.weight is None:
            raise ValueError("this layer has no weights to quantize")
        return replace(self, weight=replace(self.weight, scale=scale))
