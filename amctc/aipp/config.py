"""One `aipp_op` as plain values, with the defaults that GE fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from amctc.source import Span

InputFormat: TypeAlias = Literal["YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8"]
Layout: TypeAlias = Literal["NCHW", "NHWC"]
Triple: TypeAlias = tuple[int, int, int]
Matrix: TypeAlias = tuple[Triple, Triple, Triple]

MOST_CHANNELS: Final = 4
FLOAT16_MAX: Final = 65504.0
LARGEST_SIDE: Final = 4096
"""Pixels of the longest side of an image that AIPP takes or makes."""


@dataclass(frozen=True)
class Crop:
    """The part of the source that is kept, in pixels; a width or height of 0 is the network's."""

    left: int = 0
    top: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Padding:
    """Pixels put around the picture, each 0 to 32, and their value in every channel, as it is in the output."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    value: float = 0.0


@dataclass(frozen=True)
class Csc:
    """The colour space conversion: a matrix in 256ths, a row for each output channel.

    From YUV it is `(matrix @ (pixel - input_bias)) >> 8`, from RGB `((matrix @ pixel) >> 8) + output_bias`; the
    other bias has no effect.
    """

    matrix: Matrix
    input_bias: Triple
    output_bias: Triple


@dataclass(frozen=True)
class Normalization:
    """`(x - mean - minimum) * factor` for each of four channels; `factor` is what the file calls var_reci."""

    mean: tuple[int, int, int, int] = (0, 0, 0, 0)
    minimum: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class AippConfig:
    """What one static `aipp_op` says of one input of the network.

    `input_name` (a Caffe input) goes before `input_rank` where it is given. A source width or height of 0 is the
    network's. `crop`, `csc` and `padding` are None where they are switched off. `places` has the spans of the
    fields that are written, and that of the `aipp_op` itself under its name.
    """

    input_format: InputFormat
    input_rank: int = 0
    input_name: str | None = None
    source_width: int = 0
    source_height: int = 0
    rbuv_swap: bool = False
    ax_swap: bool = False
    crop: Crop | None = None
    csc: Csc | None = None
    normalization: Normalization = Normalization()
    padding: Padding | None = None
    places: Mapping[str, Span] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)


class NetworkInput(NamedTuple):
    """The input of a network that AIPP fills: its channels, height and width without the batch, and their order."""

    channels: int
    height: int
    width: int
    layout: Layout = "NCHW"
