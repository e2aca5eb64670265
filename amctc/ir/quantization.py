"""What is to be quantized at a node, and with which factors: annotations, no arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from amctc.quant.activation import ActivationSettings
from amctc.quant.adaround import AdaRoundSettings
from amctc.quant.snq_settings import SnqSettings


@dataclass(frozen=True)
class InputQuant:
    """How one operand of a layer is quantized; the factors are None until calibration.

    `index` is the number of a data input; the hidden state of a recurrent layer has the number behind
    that of its last input.
    """

    index: int
    settings: ActivationSettings
    scale: float | None = None
    offset: int | None = None

    @property
    def bits(self) -> int:
        return self.settings.bits


@dataclass(frozen=True, eq=False)
class WeightQuant:
    """How a layer's weights are quantized.

    `scales` has, by role, float32 of length 1 or of the number of output channels for each weight array
    that has been quantized. A layer has one array for each of its inner products. `clustering` is there where the
    weights are non-uniform; `tables` then has, by role, int8 [1 or channels, 16]: the levels that each scale's weights
    may have, ascending. Scales and tables may be given before the weights are quantized. `rounding` is there where it
    is to be learned which way they are rounded.
    """

    algorithm: str
    bits: int
    channel_wise: bool
    scales: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    clustering: SnqSettings | None = None
    tables: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    rounding: AdaRoundSettings | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightQuant):
            return NotImplemented
        mine = (self.algorithm, self.bits, self.channel_wise, self.clustering, self.rounding)
        if mine != (other.algorithm, other.bits, other.channel_wise, other.clustering, other.rounding):
            return False
        return _same_arrays(self.scales, other.scales) and _same_arrays(self.tables, other.tables)

    __hash__ = None  # type: ignore[assignment]  # arrays are inside


@dataclass(frozen=True)
class Balance:
    """What the input channels of a layer's data were divided by, and its weights multiplied.

    `factors` are float32 numbers, one for each channel of the value that the layer reads. With `folded` the layer that
    gives the channels was divided; otherwise a layer of its own in front of this one does that.
    """

    factors: tuple[float, ...]
    folded: bool = False


@dataclass(frozen=True)
class NodeQuant:
    """The annotation of one layer; `rule` is the place in the policy that gave it.

    `state` is the hidden state of a recurrent layer, None for any other. `balance` is there where data and weights have
    been balanced. `precision_mode` is `FORCE_FP16_QUANT` where scales are to be those of half precision, else None.
    """

    inputs: tuple[InputQuant, ...]
    weight: WeightQuant | None = None
    rule: str | None = None
    state: InputQuant | None = None
    balance: Balance | None = None
    precision_mode: str | None = None

    @property
    def operands(self) -> tuple[InputQuant, ...]:
        """The data inputs, then the hidden state if there is one."""
        return self.inputs if self.state is None else (*self.inputs, self.state)

    def operand(self, index: int) -> InputQuant:
        """The operand of that number; KeyError where it is not quantized."""
        for operand in self.operands:
            if operand.index == index:
                return operand
        raise KeyError(index)

    def with_factors(self, index: int, scale: float, offset: int) -> NodeQuant:
        """The same annotation with the factors of operand `index` filled in."""

        def filled(operand: InputQuant) -> InputQuant:
            return replace(operand, scale=scale, offset=offset) if operand.index == index else operand

        state = None if self.state is None else filled(self.state)
        return replace(self, inputs=tuple(map(filled, self.inputs)), state=state)

    def with_balance(self, balance: Balance) -> NodeQuant:
        """The same annotation, of a layer whose channels have been balanced."""
        return replace(self, balance=balance)

    def with_weight_scale(
        self, role: str, scale: NDArray[np.float32], table: NDArray[np.int8] | None = None
    ) -> NodeQuant:
        """The same annotation with the scales of one weight array filled in, and its tables if there are some."""
        if self.weight is None:
            raise ValueError("this layer has no weights to quantize")
        tables = self.weight.tables if table is None else {**self.weight.tables, role: table}
        return replace(self, weight=replace(self.weight, scales={**self.weight.scales, role: scale}, tables=tables))


def _same_arrays(mine: Mapping[str, NDArray[np.generic]], other: Mapping[str, NDArray[np.generic]]) -> bool:
    return mine.keys() == other.keys() and all(np.array_equal(array, other[role]) for role, array in mine.items())
