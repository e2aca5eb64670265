"""How large the images are that AIPP takes, and what does not fit a network."""

from __future__ import annotations

import numpy as np
import pytest

from amctc.aipp.config import NetworkInput
from amctc.aipp.image import SourceShape, as_images, source_shape
from amctc.diagnostics import Diagnostic, DiagnosticError
from tests.aipp.files import RGB, YUV, config_of


def misfit(body: str, network: NetworkInput) -> Diagnostic:
    config = config_of(body)
    with pytest.raises(DiagnosticError) as refusal:
        source_shape(config, network)
    (found,) = refusal.value.diagnostics
    assert found.code == "AM398"
    return found


@pytest.mark.parametrize(
    ("name", "size"), [("YUV400_U8", 48), ("YUV420SP_U8", 72), ("RGB888_U8", 144), ("XRGB8888_U8", 192)]
)
def test_an_image_takes_the_bytes_that_the_manual_says(name: str, size: int) -> None:
    config = config_of(f"aipp_mode: static input_format: {name}")
    assert source_shape(config, NetworkInput(1, 6, 8)) == SourceShape(6, 8, size)
    assert source_shape(config, NetworkInput(1, 6, 8, "NHWC")) == SourceShape(6, 8, size)


def test_the_source_is_larger_by_what_is_cut_off_and_smaller_by_what_is_put_around() -> None:
    source = "src_image_size_w: 40 src_image_size_h: 30"
    padded = f"{RGB} {source} padding: true left_padding_size: 1 right_padding_size: 2 bottom_padding_size: 3"
    assert source_shape(config_of(padded), NetworkInput(3, 33, 43)) == SourceShape(30, 40, 3600)
    cropped = f"{RGB} {source} crop: true load_start_pos_w: 8 load_start_pos_h: 6"
    assert source_shape(config_of(cropped), NetworkInput(3, 24, 32)) == SourceShape(30, 40, 3600)


def test_the_picture_must_be_of_the_networks_size() -> None:
    found = misfit(f"{RGB} src_image_size_w: 256 src_image_size_h: 224", NetworkInput(3, 224, 224))
    assert found.message == "AIPP makes pictures of 256 x 224 pixels, but the network's input is 224 x 224"
    assert found.span is not None and found.span.text == "256"
    padded = f"{RGB} src_image_size_w: 8 src_image_size_h: 8 padding: true top_padding_size: 1"
    assert "8 x 9 pixels" in misfit(padded, NetworkInput(3, 8, 8)).message
    cropped = f"{RGB} src_image_size_w: 8 src_image_size_h: 8 crop: true crop_size_w: 4 crop_size_h: 4"
    found = misfit(cropped, NetworkInput(3, 4, 5))
    assert found.span is not None and found.span.text == "4"


def test_a_crop_of_the_networks_size_must_be_within_the_images() -> None:
    cropped = f"{RGB} src_image_size_w: 32 src_image_size_h: 32 crop: true load_start_pos_w: 9"
    found = misfit(cropped, NetworkInput(3, 24, 24))
    assert found.message == "24 x 24 pixels from column 9 and row 0 on are beyond the images, which are 32 x 32"
    lower = f"{RGB} src_image_size_w: 32 src_image_size_h: 32 crop: true load_start_pos_h: 9"
    assert "row 9" in misfit(lower, NetworkInput(3, 24, 24)).message
    assert source_shape(config_of(lower), NetworkInput(3, 23, 32)).bytes == 3072


@pytest.mark.parametrize(("height", "width"), [(7, 8), (8, 7)])
def test_the_sides_of_yuv420_are_even(height: int, width: int) -> None:
    assert "its sides must be even" in str(misfit(YUV, NetworkInput(3, height, width)))
    cropped = f"{YUV} src_image_size_w: 16 src_image_size_h: 16 crop: true"
    assert "its sides must be even" in str(misfit(cropped, NetworkInput(3, height, width)))


def test_a_network_has_no_more_channels_than_the_images() -> None:
    found = misfit(RGB, NetworkInput(4, 8, 8))
    assert found.message == "the network's input has 4 channels, but AIPP makes 3"
    four = "aipp_mode: static input_format: XRGB8888_U8"
    assert source_shape(config_of(four), NetworkInput(4, 8, 8)).bytes == 256
    misfit(f"{four} csc_switch: true", NetworkInput(4, 8, 8))
    misfit("aipp_mode: static input_format: YUV400_U8", NetworkInput(3, 8, 8))
    misfit(RGB, NetworkInput(0, 8, 8))


@pytest.mark.parametrize(("height", "width"), [(-1, 8), (8, -1), (0, 8), (8, 0)])
def test_a_network_without_a_fixed_size_is_refused(height: int, width: int) -> None:
    for body in (RGB, f"{RGB} src_image_size_w: 8 src_image_size_h: 8 crop: true"):
        assert "no fixed size" in misfit(body, NetworkInput(3, height, width)).message


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4097, 8), (8, 4097), (10**12, 10**12)])
def test_images_have_sides_that_the_hardware_takes(height: int, width: int) -> None:
    assert "do not go through AIPP" in misfit(RGB, NetworkInput(3, height, width)).message


def test_a_file_of_bytes_becomes_images_without_a_copy() -> None:
    data = np.arange(36, dtype=np.uint8)
    images = as_images(data, config_of(RGB), NetworkInput(3, 2, 3))
    assert images.shape == (2, 18)
    assert images.base is data


@pytest.mark.parametrize("size", [0, 17, 19])
def test_a_file_that_holds_no_whole_images_is_refused(size: int) -> None:
    with pytest.raises(DiagnosticError) as refusal:
        as_images(np.zeros(size, np.uint8), config_of(RGB), NetworkInput(3, 2, 3), "images.bin")
    (found,) = refusal.value.diagnostics
    assert (found.code, found.file) == ("AM398", "images.bin")
    assert found.message == f"{size} bytes are no whole number of images: one of 3 x 2 pixels in RGB888_U8 takes 18"
