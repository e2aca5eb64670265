"""The conversions by name, against the definitions of the standards and against Pillow."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.aipp.apply import apply_aipp
from amctc.aipp.color import RGB_TO_YUV, YUV_TO_RGB, default_csc, preset_name, presets
from amctc.aipp.config import AippConfig, Csc, NetworkInput

KR_KB = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}
"""By standard: the weights of red and blue in the brightness."""


def colours() -> NDArray[np.uint8]:
    """All that are made of seven steps of each channel [343, 3]."""
    steps = (0, 1, 64, 100, 128, 200, 255)
    return np.array(list(product(steps, repeat=3)), np.uint8)


def through(csc: Csc, pixels: NDArray[np.uint8], from_yuv: bool) -> NDArray[np.float32]:
    """Pixels [N, 3] after a conversion; from YUV, two by two of one colour."""
    if not from_yuv:
        config = AippConfig("RGB888_U8", csc=csc)
        row: NDArray[np.float32] = apply_aipp(config, pixels.reshape(1, -1), NetworkInput(3, 1, len(pixels), "NHWC"))[
            0, 0
        ]
        return row
    squares = np.concatenate([np.repeat(pixels[:, :1], 4, axis=1), pixels[:, 1:]], axis=1)
    made: NDArray[np.float32] = apply_aipp(AippConfig("YUV420SP_U8", csc=csc), squares, NetworkInput(3, 2, 2, "NHWC"))[
        :, 0, 0
    ]
    return made


def exact(standard: str) -> tuple[NDArray[np.float64], float, float, float]:
    """From R, G and B in 0 to 1 to Y, Cb and Cr as the standard says; what Y spans, what it begins at, what C spans."""
    red, blue = KR_KB["709" if "709" in standard else "601"]
    bright = np.array([red, 1 - red - blue, blue])
    matrix = np.array(
        [bright, (np.array([0, 0, 1]) - bright) / (2 - 2 * blue), (np.array([1, 0, 0]) - bright) / (2 - 2 * red)]
    )
    return (matrix, 219, 16, 224) if "narrow" in standard else (matrix, 255, 0, 255)


@pytest.mark.parametrize("standard", YUV_TO_RGB)
def test_from_yuv_is_the_inverse_of_the_standard(standard: str) -> None:
    matrix, span, begin, chroma = exact(standard)
    table, bias = YUV_TO_RGB[standard]
    made = through(Csc(table, bias, (0, 0, 0)), colours(), from_yuv=True)
    scaled = (colours() - np.array([begin, 128, 128])) / np.array([span, chroma, chroma])
    wanted = np.clip(scaled @ np.linalg.inv(matrix).T * 255, 0, 255)
    # The matrix is rounded to 256ths (half of one for each of three factors up to 255), and the sum is cut off below.
    assert np.abs(made - wanted).max() < 2.5


@pytest.mark.parametrize("standard", RGB_TO_YUV)
def test_from_rgb_is_the_standard(standard: str) -> None:
    matrix, span, begin, chroma = exact(standard)
    table, bias = RGB_TO_YUV[standard]
    made = through(Csc(table, (0, 0, 0), bias), colours(), from_yuv=False)
    wanted = colours() / 255 @ matrix.T * np.array([span, chroma, chroma]) + np.array([begin, 128, 128])
    assert np.abs(made - np.clip(wanted, 0, 255)).max() < 2.5


def test_the_conversion_of_jpegs_is_pillows() -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    yuv = image.frombytes("YCbCr", (343, 1), colours().tobytes())
    wanted = np.asarray(yuv.convert("RGB"), np.float32)[0]
    table, bias = YUV_TO_RGB["JPEG, BT.601 wide"]
    made = through(Csc(table, bias, (0, 0, 0)), colours(), from_yuv=True)
    assert np.abs(made - wanted).max() <= 2  # Pillow rounds, AIPP cuts off
    rgb = image.frombytes("RGB", (343, 1), colours().tobytes())
    wanted = np.asarray(rgb.convert("YCbCr"), np.float32)[0]
    table, bias = RGB_TO_YUV["JPEG, BT.601 wide"]
    assert np.abs(through(Csc(table, (0, 0, 0), bias), colours(), from_yuv=False) - wanted).max() <= 2


def test_gray_is_the_brightness_in_the_first_channel() -> None:
    named = {name: (matrix, bias) for from_yuv in (True, False) for name, matrix, bias in presets(from_yuv)}
    matrix, bias = named["YUV to gray"]
    np.testing.assert_array_equal(through(Csc(matrix, bias, (0, 0, 0)), colours(), True)[:, 0], colours()[:, 0])
    matrix, bias = named["RGB to gray"]
    made = through(Csc(matrix, (0, 0, 0), bias), colours(), False)[:, 0]
    assert np.abs(made - colours() @ np.array([0.299, 0.587, 0.114])).max() < 2


def test_every_conversion_is_found_by_its_numbers() -> None:
    other = (1, 2, 3)
    for from_yuv in (True, False):
        kind: AippConfig = AippConfig("YUV420SP_U8" if from_yuv else "XRGB8888_U8")
        for name, matrix, bias in presets(from_yuv):
            csc = Csc(matrix, bias, other) if from_yuv else Csc(matrix, other, bias)
            assert preset_name(replace(kind, csc=csc)) == name
            wrong = Csc(matrix, other, bias) if from_yuv else Csc(matrix, bias, other)
            assert preset_name(replace(kind, csc=wrong)) is None
    names = [name for from_yuv in (True, False) for name, _, _ in presets(from_yuv)]
    assert len(names) == len(set(names)) == 18
    assert preset_name(AippConfig("RGB888_U8")) is None


def test_what_ge_fills_in_has_a_name() -> None:
    assert preset_name(AippConfig("YUV420SP_U8", csc=default_csc("YUV420SP_U8"))) == "YUV to BGR, BT.601 narrow"
    assert preset_name(AippConfig("RGB888_U8", csc=default_csc("RGB888_U8"))) == "RGB to YUV, BT.601 narrow"
