"""What AIPP makes of one image, pixel by pixel in plain Python, from the settings as they are written in a file."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Setting: TypeAlias = "str | int | float | bool"
Settings: TypeAlias = Mapping[str, Setting]

YUV_TO_BGR = (298, 516, 0, 298, -100, -208, 298, 0, 409)
RGB_TO_YUV = (66, 129, 25, -38, -74, 112, 112, -94, -18)
BIAS = (16, 128, 128)
CHANNELS = {"YUV420SP_U8": 3, "RGB888_U8": 3, "XRGB8888_U8": 4, "YUV400_U8": 1}


def as_text(*operators: Settings) -> str:
    """The settings as a file."""
    return "\n".join(f"aipp_op {{\n{''.join(map(_line, op.items()))}}}" for op in operators)


def _line(setting: tuple[str, Setting]) -> str:
    name, value = setting
    return f"  {name}: {str(value).lower() if isinstance(value, bool) else value}\n"


def half(value: float) -> float:
    """The nearest float16, within its range."""
    held = max(-65504.0, min(65504.0, value))
    found: float = struct.unpack("<e", struct.pack("<e", held))[0]
    return found


def bytes_of(settings: Settings, width: int, height: int) -> int:
    per_pixel = {"YUV420SP_U8": 1.5, "RGB888_U8": 3, "XRGB8888_U8": 4, "YUV400_U8": 1}[str(settings["input_format"])]
    return int(width * height * per_pixel)


def reference(
    settings: Settings, image: Sequence[int], network: tuple[int, int, int]
) -> dict[tuple[int, int, int], float]:
    """By channel, row and column: the value that the network [channels, height, width] gets."""
    channels, height, width = network
    source = _number(settings, "src_image_size_w") or width, _number(settings, "src_image_size_h") or height
    padding = bool(settings.get("padding", False))
    left = _number(settings, "left_padding_size") if padding else 0
    top = _number(settings, "top_padding_size") if padding else 0
    right = _number(settings, "right_padding_size") if padding else 0
    bottom = _number(settings, "bottom_padding_size") if padding else 0
    crop = bool(settings.get("crop", False))
    start = (_number(settings, "load_start_pos_w"), _number(settings, "load_start_pos_h")) if crop else (0, 0)
    made: dict[tuple[int, int, int], float] = {}
    for row in range(height):
        for column in range(width):
            inside = top <= row < height - bottom and left <= column < width - right
            if not inside:
                for channel in range(channels):
                    made[channel, row, column] = half(float(settings.get("padding_value", 0.0)))
                continue
            pixel = _pixel(settings, image, source, column - left + start[0], row - top + start[1])
            for channel in range(channels):
                made[channel, row, column] = _normal(settings, channel, pixel[channel])
    return made


def _pixel(settings: Settings, image: Sequence[int], source: tuple[int, int], x: int, y: int) -> list[int]:
    """The channels of one pixel after the swaps and the conversion."""
    name = str(settings["input_format"])
    width, height = source
    if name == "YUV420SP_U8":
        pair = width * height + (y // 2) * width + (x // 2) * 2
        pixel = [image[y * width + x], image[pair], image[pair + 1]]
        if settings.get("rbuv_swap_switch"):
            pixel = [pixel[0], pixel[2], pixel[1]]
    else:
        count = CHANNELS[name]
        at = (y * width + x) * count
        pixel = list(image[at : at + count])
        if name == "XRGB8888_U8" and settings.get("ax_swap_switch"):
            pixel = [pixel[1], pixel[2], pixel[3], pixel[0]]
        if name != "YUV400_U8" and settings.get("rbuv_swap_switch"):
            pixel[0], pixel[2] = pixel[2], pixel[0]
    return _converted(settings, pixel, name == "YUV420SP_U8") if settings.get("csc_switch") else pixel


def _converted(settings: Settings, pixel: Sequence[int], from_yuv: bool) -> list[int]:
    defaults = YUV_TO_BGR if from_yuv else RGB_TO_YUV
    made: list[int] = []
    for row in range(3):
        total = 0
        for column in range(3):
            weight = _number(settings, f"matrix_r{row}c{column}", defaults[3 * row + column])
            below = _number(settings, f"input_bias_{column}", BIAS[column]) if from_yuv else 0
            total += weight * (pixel[column] - below)
        value = total // 256
        if not from_yuv:
            value += _number(settings, f"output_bias_{row}", BIAS[row])
        made.append(max(0, min(255, value)))
    return made


def _normal(settings: Settings, channel: int, value: int) -> float:
    mean = _number(settings, f"mean_chn_{channel}")
    minimum = half(float(settings.get(f"min_chn_{channel}", 0.0)))
    factor = half(float(settings.get(f"var_reci_chn_{channel}", 1.0)))
    return half((value - mean - minimum) * factor)


def _number(settings: Settings, name: str, default: int = 0) -> int:
    value = settings.get(name, default)
    assert isinstance(value, int)
    return value
