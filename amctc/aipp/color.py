"""Colour space conversions by name: those of GE's manual, and the ones it takes when a file gives no matrix.

Source of the numbers: GE's user guide on AIPP, colour space conversion. A matrix holds 256ths; there is one row for
each output channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from amctc.aipp.config import AippConfig, Csc, InputFormat, Matrix, Triple

_UV: Final = (128, 128)
_NONE: Final[Triple] = (0, 0, 0)

GE_BIAS: Final[Triple] = (16, 128, 128)
"""What GE fills in for every `input_bias` and `output_bias` that is not written."""

YUV_TO_RGB: Final[Mapping[str, tuple[Matrix, Triple]]] = MappingProxyType(
    {
        "JPEG, BT.601 wide": (((256, 0, 359), (256, -88, -183), (256, 454, 0)), (0, *_UV)),
        "BT.601 narrow": (((298, 0, 409), (298, -100, -208), (298, 516, 0)), (16, *_UV)),
        "BT.709 wide": (((256, 0, 403), (256, -48, -120), (256, 475, 0)), (0, *_UV)),
        "BT.709 narrow": (((298, 0, 459), (298, -55, -136), (298, 541, 0)), (16, *_UV)),
    }
)
"""By standard: the matrix to R, G and B, and the input bias. For B, G and R the first and last rows change places."""

RGB_TO_YUV: Final[Mapping[str, tuple[Matrix, Triple]]] = MappingProxyType(
    {
        "JPEG, BT.601 wide": (((77, 150, 29), (-43, -85, 128), (128, -107, -21)), (0, *_UV)),
        "BT.601 narrow": (((66, 129, 25), (-38, -74, 112), (112, -94, -18)), (16, *_UV)),
        "BT.709 wide": (((55, 183, 19), (-29, -99, 128), (128, -116, -12)), (0, *_UV)),
        "BT.709 narrow": (((47, 157, 16), (-26, -87, 112), (112, -102, -10)), (16, *_UV)),
    }
)
"""By standard: the matrix to Y, U and V, and the output bias. For Y, V and U the last two rows change places."""

YUV_TO_GRAY: Final[Matrix] = ((256, 0, 0), _NONE, _NONE)
RGB_TO_GRAY: Final[Matrix] = ((76, 150, 30), _NONE, _NONE)


def is_yuv(input_format: InputFormat) -> bool:
    """Whether conversions are from YUV, where the input bias counts; else they are from RGB, with the output bias."""
    return input_format in ("YUV420SP_U8", "YUV400_U8")


def default_csc(input_format: InputFormat) -> Csc:
    """What GE converts with when the file gives no matrix: BT.601 narrow, from YUV to **BGR**, from RGB to YUV."""
    matrix = _upside_down(YUV_TO_RGB["BT.601 narrow"][0]) if is_yuv(input_format) else RGB_TO_YUV["BT.601 narrow"][0]
    return Csc(matrix, GE_BIAS, GE_BIAS)


def presets(from_yuv: bool) -> Iterator[tuple[str, Matrix, Triple]]:
    """The name, the matrix and the bias that counts of every conversion in this file, from YUV or from RGB."""
    if from_yuv:
        for standard, (matrix, bias) in YUV_TO_RGB.items():
            yield f"YUV to RGB, {standard}", matrix, bias
            yield f"YUV to BGR, {standard}", _upside_down(matrix), bias
        yield "YUV to gray", YUV_TO_GRAY, _NONE
        return
    for standard, (matrix, bias) in RGB_TO_YUV.items():
        yield f"RGB to YUV, {standard}", matrix, bias
        yield f"RGB to YVU, {standard}", (matrix[0], matrix[2], matrix[1]), bias
    yield "RGB to gray", RGB_TO_GRAY, _NONE


def _upside_down(matrix: Matrix) -> Matrix:
    return matrix[2], matrix[1], matrix[0]


def preset_name(config: AippConfig) -> str | None:
    """The conversion of a config by name, such as `YUV to BGR, BT.601 narrow`; None for none, or one without a name."""
    csc = config.csc
    if csc is None:
        return None
    from_yuv = is_yuv(config.input_format)
    counted = csc.input_bias if from_yuv else csc.output_bias
    return next((name for name, matrix, bias in presets(from_yuv) if (matrix, bias) == (csc.matrix, counted)), None)
