"""The images that AIPP takes: how large they are, what their bytes are, and what of them goes to the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.aipp.config import LARGEST_SIDE, AippConfig, Crop, InputFormat, NetworkInput, Padding
from amctc.diagnostics import DiagnosticError, error

CHANNELS: Final[Mapping[InputFormat, int]] = MappingProxyType(
    {"YUV420SP_U8": 3, "XRGB8888_U8": 4, "RGB888_U8": 3, "YUV400_U8": 1}
)
"""Values of one pixel, by format; of YUV420SP, after four pixels got the colour that they share."""

_HALF_BYTES: Final[Mapping[InputFormat, int]] = MappingProxyType(
    {"YUV420SP_U8": 3, "XRGB8888_U8": 8, "RGB888_U8": 6, "YUV400_U8": 2}
)


@dataclass(frozen=True)
class SourceShape:
    """The images that AIPP takes, in pixels, and the bytes of one of them."""

    height: int
    width: int
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What becomes of the images of a config in front of a network: the source, what is cut out, what is put around.

    All sides of `crop` are given in pixels. `channels` are those that the images have when they reach the
    network, of which it takes the first ones.
    """

    source: SourceShape
    crop: Crop
    padding: Padding
    channels: int


def source_shape(config: AippConfig, network: NetworkInput) -> SourceShape:
    """The images that a config takes in front of a network. Raises `DiagnosticError` AM398 if they do not fit it.

    The bytes of one image are height · width · 1 for YUV400, · 1.5 for YUV420SP, · 3 for RGB888 and · 4 for
    XRGB8888; a `.bin` file holds any number of images, without a header.
    """
    return plan_for(config, network).source


def plan_for(config: AippConfig, network: NetworkInput) -> Plan:
    """The sizes of every step, in pixels. Raises as `source_shape` does."""
    if min(network.height, network.width) < 1:
        message = f"the network's input has no fixed size: {network.width} x {network.height}"
        raise _misfit(config, message, help="give its shape")
    height = config.source_height or network.height
    width = config.source_width or network.width
    if not (1 <= height <= LARGEST_SIDE and 2 <= width <= LARGEST_SIDE):
        message = f"images of {width} x {height} pixels do not go through AIPP"
        raise _misfit(config, message, help=f"their sides must be 2 to {LARGEST_SIDE} and 1 to {LARGEST_SIDE}")
    crop = _crop(config, network, width, height)
    padding = config.padding or Padding()
    made = crop.width + padding.left + padding.right, crop.height + padding.top + padding.bottom
    if made != (network.width, network.height):
        message = (
            f"AIPP makes pictures of {made[0]} x {made[1]} pixels, but the network's input is "
            f"{network.width} x {network.height}"
        )
        raise _misfit(config, message, *_told_last(config), help="correct the crop, the padding or the source's size")
    channels = 3 if config.csc is not None else CHANNELS[config.input_format]
    if not 1 <= network.channels <= channels:
        message = f"the network's input has {network.channels} channels, but AIPP makes {channels}"
        raise _misfit(config, message, "input_format")
    return Plan(SourceShape(height, width, _bytes(config.input_format, height, width)), crop, padding, channels)


def as_images(
    data: NDArray[np.uint8], config: AippConfig, network: NetworkInput, file: str | None = None
) -> NDArray[np.uint8]:
    """The content of a `.bin` file [bytes] as images [N, bytes of one], without a copy.

    Raises `DiagnosticError` AM398 for a file that is empty or holds no whole number of images, and as `source_shape`
    does.
    """
    shape = source_shape(config, network)
    flat = data.reshape(-1)
    if flat.size == 0 or flat.size % shape.bytes:
        need = f"one of {shape.width} x {shape.height} pixels in {config.input_format} takes {shape.bytes}"
        message = f"{flat.size} bytes are no whole number of images: {need}"
        raise error("AM398", message, file=file, help="the file must hold the bytes of the images, and nothing else")
    return flat.reshape(-1, shape.bytes)


def _crop(config: AippConfig, network: NetworkInput, width: int, height: int) -> Crop:
    crop = config.crop
    if crop is None:
        crop = Crop(0, 0, width, height)
    else:
        crop = Crop(crop.left, crop.top, crop.width or network.width, crop.height or network.height)
        if crop.left + crop.width > width or crop.top + crop.height > height:
            message = (
                f"{crop.width} x {crop.height} pixels from column {crop.left} and row {crop.top} on are beyond "
                f"the images, which are {width} x {height}"
            )
            raise _misfit(config, message, "crop")
    if config.input_format == "YUV420SP_U8" and any(side % 2 for side in (width, height, crop.width, crop.height)):
        message = f"{crop.width} x {crop.height} pixels of {width} x {height} cannot be taken from `YUV420SP_U8`"
        raise _misfit(config, message, "input_format", help="its sides must be even: four pixels share a colour")
    return crop


def _told_last(config: AippConfig) -> tuple[str, ...]:
    """The settings that may have made a wrong size, the likeliest first."""
    return (
        *(("padding",) if config.padding is not None else ()),
        *(("crop_size_w", "crop") if config.crop is not None else ()),
        "src_image_size_w",
        "src_image_size_h",
    )


def _bytes(input_format: InputFormat, height: int, width: int) -> int:
    return height * width * _HALF_BYTES[input_format] // 2


def _misfit(config: AippConfig, message: str, *fields: str, help: str | None = None) -> DiagnosticError:
    places = (config.places.get(name) for name in (*fields, "aipp_op"))
    return error("AM398", message, next((place for place in places if place is not None), None), help=help)
