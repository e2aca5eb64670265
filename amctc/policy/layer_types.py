"""What the layer types of PyTorch and GE can be quantized with (AMCT's capacity table; the GE guide).

Caffe's types are in the op table. A type that is not here is judged with the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class TypeLimits:
    """`channel_wise`: a scale for each channel; `wide`: data of 16 bits; `offset`: data with an offset.

    `learned`: the algorithm `ada_quantize`; `narrow`: weights of 6 and 7 bits.
    """

    channel_wise: bool = True
    wide: bool = True
    offset: bool = True
    learned: bool = False
    narrow: bool = False


_PYTORCH = {
    "Conv1d": TypeLimits(),
    "Conv2d": TypeLimits(learned=True, narrow=True),
    "Conv3d": TypeLimits(wide=False, offset=False),
    "Linear": TypeLimits(channel_wise=False, learned=True),
    "ConvTranspose1d": TypeLimits(),
    "ConvTranspose2d": TypeLimits(learned=True),
    "AvgPool2d": TypeLimits(channel_wise=False, wide=False),
    "GRU": TypeLimits(),
    "LSTM": TypeLimits(),
}

TYPE_LIMITS: Mapping[str, Mapping[str, TypeLimits]] = MappingProxyType({"pytorch": _PYTORCH})
"""By the name of the flavour and of the type."""

ONE_SCALE_IN_TRAINING = frozenset({"Linear", "MatMul", "InnerProduct", "Pooling", "AvgPool"})
"""Types whose weights have one scale in quantization-aware training."""
