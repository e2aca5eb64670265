"""What AIPP does to images, in numpy: swap, crop, convert, normalize, pad, in this order.

Source of the formulas: GE's user guide on AIPP (the configuration template, and the pages on conversion, normalization,
crop and padding). What it leaves open and is decided here: a conversion ends in 0 to 255, as its input does; mean,
minimum and factor are as the device holds them (an integer, and float16); `(x - mean - minimum) * factor` is rounded
once, to float16, and held within it; the pixels of YUV420SP take the colour of their square of four as it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from amctc.aipp.color import is_yuv
from amctc.aipp.config import FLOAT16_MAX, AippConfig, Csc, NetworkInput, Normalization
from amctc.aipp.image import CHANNELS, Plan, plan_for
from amctc.diagnostics import error

_VALUES: Final = 256


def apply_aipp(config: AippConfig, images: NDArray[np.uint8], network: NetworkInput) -> NDArray[np.float32]:
    """A batch of images [N, bytes of one] as the input of the network, [N, C, H, W] or [N, H, W, C] as its layout says.

    The values are float16, which is what AIPP hands to the network, held in float32. Nothing of the images is
    kept, so that a data set may be taken batch by batch. Raises `DiagnosticError` AM398 where config, images
    and network do not fit each other.
    """
    plan = plan_for(config, network)
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != plan.source.bytes:
        raise error(
            "AM398",
            f"images of {plan.source.bytes} bytes are needed, but {images.dtype} of {tuple(images.shape)} was given",
            help="give uint8 [N, bytes of one image]; `as_images` makes it of a file",
        )
    channels = range(network.channels)
    planes = _planes(config, images, plan)
    if config.csc is not None:
        planes = [_converted(config.csc, row, planes, is_yuv(config.input_format)) for row in channels]
    tables = _tables(config.normalization)
    filled = np.float32(np.float16(plan.padding.value))
    whole = np.full((len(images), network.channels, network.height, network.width), filled, np.float32)
    if network.layout == "NHWC":
        whole = np.full((len(images), network.height, network.width, network.channels), filled, np.float32)
    by_channel = whole if network.layout == "NCHW" else np.moveaxis(whole, 3, 1)
    crop, padding = plan.crop, plan.padding
    inside = by_channel[
        :, :, padding.top : padding.top + crop.height, padding.left : padding.left + crop.width
    ]  # a view
    for channel in channels:
        inside[:, channel] = tables[channel][planes[channel]]
    return whole


def _planes(config: AippConfig, images: NDArray[np.uint8], plan: Plan) -> list[NDArray[np.uint8]]:
    """The channels [N, height, width] of what is cut out of the images, after the swaps."""
    if config.input_format == "YUV420SP_U8":
        planes = _planes_of_yuv420(images, plan)
        if config.rbuv_swap:
            planes[1], planes[2] = planes[2], planes[1]
        return planes
    channels, crop, source = CHANNELS[config.input_format], plan.crop, plan.source
    pixels = images.reshape(len(images), source.height, source.width, channels)
    kept = pixels[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    planes = [kept[..., channel] for channel in range(channels)]
    if config.ax_swap and channels == 4:
        planes = [*planes[1:], planes[0]]
    if config.rbuv_swap and channels > 1:
        planes[0], planes[2] = planes[2], planes[0]
    return planes


def _planes_of_yuv420(images: NDArray[np.uint8], plan: Plan) -> list[NDArray[np.uint8]]:
    """Y, U and V of a plane of Y [height, width] followed by pairs of U and V [height / 2, width / 2, 2] (NV12)."""
    crop, source = plan.crop, plan.source
    light = images[:, : source.height * source.width].reshape(-1, source.height, source.width)
    colour = images[:, source.height * source.width :].reshape(-1, source.height // 2, source.width // 2, 2)
    rows = np.arange(crop.top, crop.top + crop.height)
    columns = np.arange(crop.left, crop.left + crop.width)
    spread = colour[:, (rows // 2)[:, None], (columns // 2)[None, :]]
    return [light[:, rows[:, None], columns[None, :]], spread[..., 0], spread[..., 1]]


def _converted(csc: Csc, row: int, planes: list[NDArray[np.uint8]], from_yuv: bool) -> NDArray[np.uint8]:
    """One channel of a conversion; a fourth channel of the images is left out of it."""
    bias = csc.input_bias if from_yuv else (0, 0, 0)
    total = sum(
        (plane.astype(np.int32) - low) * weight
        for plane, low, weight in zip(planes[:3], bias, csc.matrix[row], strict=True)
    )
    value = (total >> 8) + (0 if from_yuv else csc.output_bias[row])
    clamped: NDArray[np.uint8] = np.clip(value, 0, _VALUES - 1).astype(np.uint8)
    return clamped


def _tables(normalization: Normalization) -> NDArray[np.float32]:
    """What becomes of each of the 256 values in each channel [4, 256]: float16 values."""
    values = np.arange(_VALUES, dtype=np.float64)
    mean = np.array(normalization.mean, np.float64)
    minimum, factor = (
        np.array(given, np.float64).astype(np.float16).astype(np.float64)
        for given in (normalization.minimum, normalization.factor)
    )
    # Exact: a difference of at most 33 bits and a factor of 11.
    made = (values - mean[:, None] - minimum[:, None]) * factor[:, None]
    return np.clip(made, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16).astype(np.float32)
