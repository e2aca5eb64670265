"""AIPP in numpy against the same formulas written a second time, pixel by pixel."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.aipp.apply import apply_aipp
from amctc.aipp.color import RGB_TO_GRAY, RGB_TO_YUV, YUV_TO_GRAY, YUV_TO_RGB
from amctc.aipp.config import Layout, Matrix, NetworkInput, Triple
from amctc.aipp.read import parse_aipp
from amctc.diagnostics import DiagnosticError
from amctc.source import SourceFile
from tests.aipp.reference import Setting, Settings, as_text, bytes_of, reference

STATIC: Settings = {"aipp_mode": "static"}
FORMATS = ("YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8")


def images_for(settings: Settings, width: int, height: int, count: int = 2) -> NDArray[np.uint8]:
    rng = np.random.default_rng(width * 100 + height)
    size = count, bytes_of(settings, width, height)
    made = rng.integers(0, 256, size, np.uint8)
    made[:, : size[1] // 4] = rng.choice([0, 1, 15, 16, 128, 254, 255], (count, size[1] // 4))
    return made


def check(settings: Settings, images: NDArray[np.uint8], network: tuple[int, int, int]) -> None:
    """Both layouts give what the reference does."""
    (config,) = parse_aipp(SourceFile("aipp.cfg", as_text({**STATIC, **settings})))
    channels, height, width = network
    first = apply_aipp(config, images, NetworkInput(channels, height, width))
    last = apply_aipp(config, images, NetworkInput(channels, height, width, "NHWC"))
    assert first.shape == (len(images), channels, height, width)
    assert first.dtype == last.dtype == np.float32
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(last, np.moveaxis(first, 1, 3))
    for image, made in zip(images, first, strict=True):
        wanted = reference(settings, image.tolist(), network)
        assert {place: float(made[place]) for place in wanted} == wanted


def of_matrix(matrix: Matrix, bias: Triple, name: str) -> dict[str, Setting]:
    made: dict[str, Setting] = {f"matrix_r{row}c{col}": matrix[row][col] for row in range(3) for col in range(3)}
    return made | {"csc_switch": True} | {f"{name}_bias_{channel}": bias[channel] for channel in range(3)}


FROM_YUV = [of_matrix(matrix, bias, "input") for matrix, bias in (*YUV_TO_RGB.values(), (YUV_TO_GRAY, (0, 0, 0)))]
FROM_RGB = [of_matrix(matrix, bias, "output") for matrix, bias in (*RGB_TO_YUV.values(), (RGB_TO_GRAY, (0, 0, 0)))]
CONVERSIONS: dict[str, list[dict[str, Setting]]] = {
    "YUV420SP_U8": [{}, {"csc_switch": True}, *FROM_YUV],
    "RGB888_U8": [{}, {"csc_switch": True}, *FROM_RGB],
    "XRGB8888_U8": [{}, {"csc_switch": True}, *FROM_RGB],
    "YUV400_U8": [{}],
}
CROP: dict[str, Setting] = {
    "crop": True,
    "load_start_pos_w": 2,
    "load_start_pos_h": 4,
    "crop_size_w": 6,
    "crop_size_h": 4,
}
PAD: dict[str, Setting] = {
    "padding": True,
    "left_padding_size": 1,
    "right_padding_size": 2,
    "top_padding_size": 3,
    "bottom_padding_size": 0,
    "padding_value": -1.3,
}
NORMAL: dict[str, Setting] = {
    **{f"mean_chn_{channel}": mean for channel, mean in enumerate((104, 117, 0, 255))},
    **{f"min_chn_{channel}": low for channel, low in enumerate((0.3, 123.675, 255, 0))},
    **{f"var_reci_chn_{channel}": factor for channel, factor in enumerate((0.0171247, -2.5, 65504, 1e-7))},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("crop", [{}, CROP], ids=["whole", "crop"])
@pytest.mark.parametrize("pad", [{}, PAD], ids=["bare", "pad"])
@pytest.mark.parametrize("normal", [{}, NORMAL], ids=["as it is", "normalized"])
def test_every_conversion_crop_padding_and_normalization_is_as_the_formulas_say(
    name: str, crop: Settings, pad: Settings, normal: Settings
) -> None:
    width, height = 10, 8
    made = (6, 4) if crop else (width, height)
    if pad:
        made = made[0] + 3, made[1] + 3
    for conversion, rbuv, ax in product(CONVERSIONS[name], (False, True), (False, True)):
        settings: dict[str, Setting] = {
            "input_format": name,
            "src_image_size_w": width,
            "src_image_size_h": height,
            "rbuv_swap_switch": rbuv,
            "ax_swap_switch": ax,
            **conversion,
            **crop,
            **pad,
            **normal,
        }
        channels = 3 if conversion else {"XRGB8888_U8": 4, "YUV400_U8": 1}.get(name, 3)
        check(settings, images_for(settings, width, height, 1), (channels, made[1], made[0]))


def test_a_network_of_one_channel_gets_the_first() -> None:
    settings: Settings = {"input_format": "YUV420SP_U8", **of_matrix(YUV_TO_GRAY, (0, 0, 0), "input")}
    images = images_for(settings, 4, 4)
    check(settings, images, (1, 4, 4))
    (config,) = parse_aipp(SourceFile("aipp.cfg", as_text({**STATIC, **settings})))
    made = apply_aipp(config, images, NetworkInput(1, 4, 4))
    np.testing.assert_array_equal(made.reshape(2, -1), images[:, :16])


def test_source_and_crop_are_of_the_networks_size_where_the_file_does_not_say() -> None:
    check({"input_format": "RGB888_U8"}, images_for({"input_format": "RGB888_U8"}, 5, 3), (3, 3, 5))
    cropped: Settings = {
        "input_format": "RGB888_U8",
        "src_image_size_w": 7,
        "src_image_size_h": 6,
        "crop": True,
        "load_start_pos_h": 2,
    }
    check(cropped, images_for(cropped, 7, 6), (3, 4, 5))


def test_the_fourth_channel_is_where_the_swaps_of_the_manual_leave_it() -> None:
    red, green, blue, unused = 1, 2, 3, 9
    orders = {
        (True, False): (unused, red, green, blue),
        (True, True): (unused, blue, green, red),
        (False, False): (red, green, blue, unused),
        (False, True): (blue, green, red, unused),
    }
    for (ax, rbuv), pixel in orders.items():
        settings = {**STATIC, "input_format": "XRGB8888_U8", "ax_swap_switch": ax, "rbuv_swap_switch": rbuv}
        (config,) = parse_aipp(SourceFile("aipp.cfg", as_text(settings)))
        images = np.array([pixel * 2], np.uint8)
        assert apply_aipp(config, images, NetworkInput(3, 1, 2))[0, :, 0, 0].tolist() == [red, green, blue]
        assert apply_aipp(config, images, NetworkInput(4, 1, 2))[0, 3, 0, 1] == unused


def test_nv21_with_a_swap_is_nv12_without() -> None:
    nv12: Settings = {**STATIC, "input_format": "YUV420SP_U8", "csc_switch": True}
    images = images_for(nv12, 6, 4)
    swapped = images.copy()
    swapped[:, 24::2], swapped[:, 25::2] = images[:, 25::2], images[:, 24::2]
    without, with_swap = parse_aipp(
        SourceFile("aipp.cfg", as_text(nv12, {**nv12, "rbuv_swap_switch": True, "related_input_rank": 1}))
    )
    network = NetworkInput(3, 4, 6)
    np.testing.assert_array_equal(apply_aipp(with_swap, swapped, network), apply_aipp(without, images, network))


def test_what_is_larger_than_float16_is_its_largest_value() -> None:
    settings: Settings = {**STATIC, "input_format": "YUV400_U8", "var_reci_chn_0": -65504.0}
    (config,) = parse_aipp(SourceFile("aipp.cfg", as_text(settings)))
    made = apply_aipp(config, np.array([[0, 1, 2, 255]], np.uint8), NetworkInput(1, 1, 4))
    assert made.ravel().tolist() == [0, -65504, -65504, -65504]


def test_a_data_set_may_be_taken_batch_by_batch() -> None:
    settings: Settings = {**STATIC, "input_format": "RGB888_U8", "csc_switch": True, **NORMAL}
    (config,) = parse_aipp(SourceFile("aipp.cfg", as_text(settings)))
    images = images_for(settings, 4, 4, 5)
    network = NetworkInput(3, 4, 4)
    parts = [apply_aipp(config, images[start : start + 2], network) for start in range(0, 5, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), apply_aipp(config, images, network))
    assert apply_aipp(config, images[:0], network).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 47), np.uint8), np.zeros(48, np.uint8), np.zeros((1, 48), np.float32), np.zeros((1, 48), np.int8)],
    ids=["bytes", "axes", "float32", "int8"],
)
def test_other_arrays_than_images_are_refused(images: NDArray[np.uint8]) -> None:
    (config,) = parse_aipp(SourceFile("aipp.cfg", as_text({**STATIC, "input_format": "RGB888_U8"})))
    with pytest.raises(DiagnosticError) as refusal:
        apply_aipp(config, images, NetworkInput(3, 4, 4))
    assert refusal.value.diagnostics[0].code == "AM398"
    assert "images of 48 bytes are needed" in refusal.value.diagnostics[0].message


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Setting], tuple[int, int], tuple[int, int, int]]:
    """Settings of any kind that fit a network, the width and height of the images, and the network's input."""
    name = draw(st.sampled_from(FORMATS))
    step = 2 if name == "YUV420SP_U8" else 1
    width, height = (draw(st.integers(2 // step, 6)) * step for _ in range(2))
    settings: dict[str, Setting] = {"input_format": name, "src_image_size_w": width, "src_image_size_h": height}
    made = [width, height]
    if draw(st.booleans()):
        settings["crop"] = True
        for axis, (letter, side) in enumerate((("w", width), ("h", height))):
            start = draw(st.integers(0, side // step - 1)) * step
            made[axis] = draw(st.integers(1, (side - start) // step)) * step
            settings |= {f"load_start_pos_{letter}": start, f"crop_size_{letter}": made[axis]}
    if draw(st.booleans()):
        settings |= {"padding": True, "padding_value": draw(st.floats(-65504, 65504, width=32))}
        for edge, axis in (("left", 0), ("right", 0), ("top", 1), ("bottom", 1)):
            put = draw(st.integers(0, 3))
            settings[f"{edge}_padding_size"] = put
            made[axis] += put
    settings |= {switch: draw(st.booleans()) for switch in ("rbuv_swap_switch", "ax_swap_switch")}
    channels = {"XRGB8888_U8": 4, "YUV400_U8": 1}.get(name, 3)
    if channels > 1 and draw(st.booleans()):
        channels = 3
        weights = st.integers(-600, 600) | st.sampled_from((-32768, 32767, 256))
        names = [f"matrix_r{row}c{column}" for row in range(3) for column in range(3)]
        settings |= {"csc_switch": True} | draw(st.dictionaries(st.sampled_from(names), weights))
        biases = [f"{kind}_bias_{channel}" for kind in ("input", "output") for channel in range(3)]
        settings |= draw(st.dictionaries(st.sampled_from(biases), st.integers(0, 255)))
    for channel in range(4):
        settings[f"mean_chn_{channel}"] = draw(st.integers(0, 255))
        settings[f"min_chn_{channel}"] = draw(st.floats(0, 255, width=32))
        settings[f"var_reci_chn_{channel}"] = draw(st.floats(-65504, 65504, width=32) | st.floats(-1, 1, width=32))
    return settings, (width, height), (draw(st.integers(1, channels)), made[1], made[0])


@pytest.mark.hypothesis
@given(cases())
def test_any_configuration_is_as_the_formulas_say(
    case: tuple[dict[str, Setting], tuple[int, int], tuple[int, int, int]],
) -> None:
    settings, (width, height), network = case
    check(settings, images_for(settings, width, height, 1), network)


def test_the_layout_is_one_of_two() -> None:
    layouts: tuple[Layout, Layout] = ("NCHW", "NHWC")
    (config,) = parse_aipp(SourceFile("aipp.cfg", as_text({**STATIC, "input_format": "YUV400_U8"})))
    images = np.arange(6, dtype=np.uint8)[None]
    shapes = [apply_aipp(config, images, NetworkInput(1, 2, 3, layout)).shape for layout in layouts]
    assert shapes == [(1, 1, 2, 3), (1, 2, 3, 1)]
