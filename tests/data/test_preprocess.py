from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from amctc.diagnostics import DiagnosticError
from amctc.runtime.images import read_image
from amctc.runtime.preprocess import Preprocess
from amctc.runtime.preprocess_steps import (
    Arithmetic,
    CenterCrop,
    Channels,
    Layout,
    MeanImage,
    Method,
    Resize,
    ResizeShort,
    Step,
    TransposeHw,
)
from tests.shared_files import ASSETS, needs_assets

side = st.integers(1, 16384)
method: st.SearchStrategy[Method] = st.sampled_from(("bilinear", "bicubic", "nearest"))
number = st.floats(-(2.0**100), 2.0**100)
nonzero = number.filter(lambda value: abs(value) > 1e-30)
pixel_step = st.one_of(
    st.builds(Resize, side, side, method), st.builds(ResizeShort, side, method), st.builds(CenterCrop, side, side)
)
plain_path = st.from_regex(r"[^\s\",]{1,20}\.(binaryproto|npy|NPY)", fullmatch=True)
arithmetic = st.one_of(
    st.builds(MeanImage, st.text(min_size=1, max_size=20) | plain_path),
    st.builds(Arithmetic, st.just("mean"), st.lists(number, min_size=1, max_size=5).map(tuple)),
    st.builds(Arithmetic, st.just("std"), st.lists(nonzero, min_size=1, max_size=5).map(tuple)),
    st.builds(Arithmetic, st.just("scale"), st.tuples(nonzero)),
)


@st.composite
def legal_steps(draw: st.DrawFn) -> tuple[Step, ...]:
    steps: list[Step] = [*draw(st.lists(pixel_step, max_size=3))]
    channels = draw(st.sampled_from((Channels("rgb"), Channels("bgr"), Channels("gray"), None)))
    later: list[Step] = [*draw(st.lists(arithmetic, max_size=3))]
    if channels is not None:
        (steps if channels.order == "gray" else later).append(channels)
    if draw(st.booleans()):
        later.append(Layout(draw(st.sampled_from(("chw", "hwc")))))
    if draw(st.booleans()):
        later.append(TransposeHw())
    return (*steps, *draw(st.permutations(later)))


@given(legal_steps())
def test_a_preprocessing_prints_as_text_that_reads_back_equal(steps: tuple[Step, ...]) -> None:
    written = Preprocess(steps)
    assert Preprocess.parse(str(written)) == written


any_text = st.text('resizchopbgrmanx=,:@0123456789.-+e ;"/', max_size=60)


@given(any_text | st.lists(any_text | st.sampled_from(["mean=", ".npy", '"', ","]), max_size=8).map("".join))
def test_any_text_is_read_or_refused_with_a_diagnostic(text: str) -> None:
    try:
        Preprocess.parse(text)
    except DiagnosticError as refusal:
        assert all(diagnostic.span is not None for diagnostic in refusal.diagnostics)


def test_the_steps_are_those_written() -> None:
    text = "resize-short=256@bicubic, center-crop=224x227,bgr,mean=104:117:123,std=2,scale=.5,layout=hwc,transpose-hw"
    assert Preprocess.parse(text).steps == (
        ResizeShort(256, "bicubic"),
        CenterCrop(224, 227),
        Channels("bgr"),
        Arithmetic("mean", (104, 117, 123)),
        Arithmetic("std", (2,)),
        Arithmetic("scale", (0.5,)),
        Layout("hwc"),
        TransposeHw(),
    )
    assert str(Preprocess.parse("resize=8x8@nearest,mean=+1.50")) == "resize=8@nearest,mean=1.5"
    assert Preprocess.parse("  ") == Preprocess()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mean=mean.binaryproto,scale=2", "mean.binaryproto"),
        ("mean=/data/a=b/1:2@3.NPY,scale=2", "/data/a=b/1:2@3.NPY"),
        ("mean=C:\\data\\mean.npy,scale=2", "C:\\data\\mean.npy"),
        ("mean=7.npy,scale=2", "7.npy"),
        ('mean="my mean, new.npy",scale=2', "my mean, new.npy"),
        ('mean="the ""mean"".dat",scale=2', 'the "mean".dat'),
        ('mean="mean.npyz",scale=2', "mean.npyz"),
    ],
)
def test_a_path_needs_quotes_only_where_it_is_not_plain(text: str, path: str) -> None:
    assert Preprocess.parse(text).steps == (MeanImage(path), Arithmetic("scale", (2,)))
    assert str(Preprocess.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "place", "code", "message", "help"),
    [
        ("resize=", 8, "AM101", "expected a value, found the end of the text", None),
        ("bgr,", 5, "AM101", "expected a step, found the end of the text", None),
        ("bgr,,rgb", 5, "AM101", "expected a step, found `,`", None),
        ("bgr;rgb", 4, "AM101", "unexpected `;` in a preprocessing", None),
        ("resize_short=5", 1, "AM451", "unknown step `resize_short`", "did you mean `resize-short`?"),
        ("bgr,zzz", 5, "AM451", "unknown step `zzz`", "there are: resize, resize-short, center-crop, rgb, bgr, gray, "
            "mean, std, scale, layout, transpose-hw"),
        ("bgr=1", 1, "AM452", "`bgr` takes no value", "write `bgr`"),
        ("gray,scale", 6, "AM452", "`scale` needs a value", "write `scale=F`"),
        ("resize=0x9", 8, "AM452", "`0` is not a whole number of pixels from 1 to 16384",
            "write `resize=WIDTHxHEIGHT` or `resize=N`"),
        ("resize=9999999x9", 8, "AM452", "`9999999` is not a whole number of pixels from 1 to 16384",
            "write `resize=WIDTHxHEIGHT` or `resize=N`"),
        ("resize-short=2.5", 14, "AM452", "`2.5` is not a whole number of pixels from 1 to 16384",
            "write `resize-short=N`"),
        ("resize-short=2x3", 1, "AM452", "`resize-short` takes one number of pixels", "write `resize-short=N`"),
        ("resize=2:3", 1, "AM452", "`resize` takes a size in pixels", "write `resize=WIDTHxHEIGHT` or `resize=N`"),
        ("resize=4@bicubik", 10, "AM452", "unknown interpolation `bicubik`", "did you mean `bicubic`?"),
        ("center-crop=4@nearest", 15, "AM452", "`center-crop` has no interpolation",
            "write `center-crop=N` or `center-crop=WIDTHxHEIGHT`"),
        ("mean=bgr", 1, "AM452", "`mean` takes numbers parted by `:`",
            "write `mean=A`, `mean=A:B:C` or `mean=FILE.binaryproto`"),
        ("mean=1:1e39", 8, "AM452", "`1e39` is too large for float32",
            "write `mean=A`, `mean=A:B:C` or `mean=FILE.binaryproto`"),
        ("bgr,mean=my.bin", 12, "AM101", "unexpected `.` in a preprocessing",
            'write this path in quotes: `mean="PATH"`'),
        ('mean="my.npy,bgr', 6, "AM101", "this quote is not closed", None),
        ('mean=""', 6, "AM452", "the path is empty", "write `mean=A`, `mean=A:B:C` or `mean=FILE.binaryproto`"),
        ("scale=m.npy", 1, "AM452", "`scale` takes one number", "write `scale=F`"),
        ("std=m.npy", 1, "AM452", "`std` takes numbers parted by `:`", "write `std=A` or `std=A:B:C`"),
        ("resize=m.npy", 1, "AM452", "`resize` takes a size in pixels", "write `resize=WIDTHxHEIGHT` or `resize=N`"),
        ("layout=m.npy", 1, "AM452", "`layout` is `chw` or `hwc`", "write `layout=chw` or `layout=hwc`"),
        ("bgr=m.npy", 1, "AM452", "`bgr` takes no value", "write `bgr`"),
        ("std=1:0", 7, "AM452", "`std` must not be zero in float32", "write `std=A` or `std=A:B:C`"),
        ("scale=1:2", 1, "AM452", "`scale` takes one number", "write `scale=F`"),
        ("layout=nchw", 8, "AM452", "`layout` is `chw` or `hwc`", "write `layout=chw` or `layout=hwc`"),
        ("bgr,gray", 5, "AM453", "the channels are stated twice", None),
        ("layout=chw,layout=hwc", 12, "AM453", "`layout` is stated twice", None),
        ("mean=1,resize=8", 8, "AM453", "`resize` works on 8-bit pixels and must stand before `mean`", None),
        ("mean=m.npy,gray", 12, "AM453", "`gray` works on 8-bit pixels and must stand before `mean`", None),
        ("transpose-hw,center-crop=8", 14, "AM453",
            "`center-crop` works on 8-bit pixels and must stand before `transpose-hw`", None),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, place: int, code: str, message: str, help: str | None) -> None:
    with pytest.raises(DiagnosticError) as caught:
        Preprocess.parse(text)
    (told,) = caught.value.diagnostics
    assert (told.code, told.message, told.help) == (code, message, help)
    assert told.span is not None and (told.span.source.name, told.span.column) == ("--preprocess", place)


def test_all_wrong_steps_are_told_at_once() -> None:
    with pytest.raises(DiagnosticError) as caught:
        Preprocess.parse("resise=3,std=0,bgr=1")
    assert [told.code for told in caught.value.diagnostics] == ["AM451", "AM452", "AM452"]


def test_an_endless_text_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="at most 4096 characters, this one has 5000"):
        Preprocess.parse("a" * 5000)


PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_an_image_is_rgb_with_channels_first_by_default() -> None:
    result = Preprocess().image_array(PIXELS)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_array_equal(result, PIXELS.transpose(2, 0, 1))


def test_the_arithmetic_is_float32_in_the_order_written() -> None:
    result = Preprocess.parse("mean=1:2:3,bgr,std=0.3:0.7:0.9,scale=0.1").image_array(PIXELS)
    centred: NDArray[np.float32] = PIXELS.astype(np.float32) - np.array([1, 2, 3], np.float32)
    expected = centred[..., ::-1] / np.array([0.3, 0.7, 0.9], np.float32) * np.float32(0.1)
    np.testing.assert_array_equal(result, expected.transpose(2, 0, 1))
    swapped_first = Preprocess.parse("bgr,mean=1:2:3,std=0.3:0.7:0.9,scale=0.1").image_array(PIXELS)
    assert not np.array_equal(result, swapped_first)


@pytest.mark.parametrize(
    ("text", "axes"),
    [("layout=hwc", (0, 1, 2)), ("transpose-hw", (2, 1, 0)), ("transpose-hw,layout=hwc", (1, 0, 2))],
)
def test_axes_are_ordered_as_asked(text: str, axes: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(Preprocess.parse(text).image_array(PIXELS), PIXELS.transpose(axes))


def test_arrays_take_the_channel_axis_from_the_layout() -> None:
    batch = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    first = Preprocess.parse("bgr,mean=1:2:3").batch_array(batch.copy())
    np.testing.assert_array_equal(first, batch[:, ::-1] - np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1))
    last = Preprocess.parse("bgr,mean=1:2:3,layout=hwc").batch_array(batch.transpose(0, 2, 3, 1).copy())
    np.testing.assert_array_equal(last, first.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("mean=1:2:3", (4, 1, 2, 2), "`mean` gives 3 numbers, the data have 1 channel"),
        ("std=1:2", (4, 3, 2, 2), "`std` gives 2 numbers, the data have 3 channels"),
        ("bgr", (4, 1, 2, 2), "`bgr` swaps the channels of colour images, the data have 1 channel"),
        ("bgr", (4,), "`bgr` swaps the channels of colour images, the data have 1 channel"),
    ],
)
def test_a_step_for_another_number_of_channels_is_refused(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        Preprocess.parse(text).batch_array(np.zeros(shape, np.float32))
    (told,) = caught.value.diagnostics
    assert (told.code, told.message) == ("AM447", message)
    assert told.span is not None and told.span.column == 1


@pytest.mark.parametrize("text", ["resize=8", "resize-short=8", "center-crop=8", "gray", "transpose-hw"])
def test_steps_for_images_are_refused_for_arrays(text: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        Preprocess.parse(f"rgb,{text}" if text != "gray" else text).check_arrays()
    (told,) = caught.value.diagnostics
    name = text.split("=", maxsplit=1)[0]
    assert (told.code, told.message) == ("AM447", f"`{name}` works on images, the data are arrays")
    assert told.span is not None and told.span.text == text


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_a_crop_takes_the_middle_and_rounds_down(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 6, 3), np.uint8)
    result = read_image(save(tmp_path / "a.png", pixels), Preprocess.parse("center-crop=3x4,layout=hwc"))
    np.testing.assert_array_equal(result, pixels[1:5, 1:4])


def test_the_shorter_side_is_resized_and_the_other_follows(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((100, 151, 3), np.uint8))
    assert read_image(path, Preprocess.parse("resize-short=50")).shape == (3, 50, 75)
    path = save(tmp_path / "b.png", np.zeros((151, 100, 3), np.uint8))
    assert read_image(path, Preprocess.parse("resize-short=50")).shape == (3, 75, 50)


def test_the_interpolations_differ_and_nearest_keeps_the_values(tmp_path: Path) -> None:
    pixels = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)
    path = save(tmp_path / "a.png", pixels)
    results = {m: read_image(path, Preprocess.parse(f"resize=12@{m}")) for m in ("bilinear", "bicubic", "nearest")}
    assert set(np.unique(results["nearest"])) == {0, 255}
    assert not np.array_equal(results["bilinear"], results["bicubic"])
    np.testing.assert_array_equal(read_image(path, Preprocess.parse("resize=12")), results["bilinear"])


def test_gray_is_taken_where_it_stands(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    with Image.open(path) as image:
        first = np.asarray(image.convert("L").resize((5, 5), Image.Resampling.BILINEAR))
        last = np.asarray(image.resize((5, 5), Image.Resampling.BILINEAR).convert("L"))
    assert not np.array_equal(first, last)
    np.testing.assert_array_equal(read_image(path, Preprocess.parse("gray,resize=5"))[0], first)
    np.testing.assert_array_equal(read_image(path, Preprocess.parse("resize=5,gray"))[0], last)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize(("text", "channels"), [("", 3), ("gray", 1)])
def test_every_8_bit_mode_gives_the_channels_asked_for(tmp_path: Path, mode: str, text: str, channels: int) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (5, 4), (10, 200, 30)).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}", Preprocess.parse(text)).shape == (channels, 4, 5)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", Preprocess())[:, 0, 0], [10, 20, 30])


def unreadable(path: Path, text: str = "") -> str:
    with pytest.raises(DiagnosticError) as caught:
        read_image(path, Preprocess.parse(text))
    (told,) = caught.value.diagnostics
    assert told.code == "AM444" and told.file == str(path)
    return told.message.removeprefix(f"image `{path}` cannot be used: ")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    assert unreadable(tmp_path / "a.jpg") == "it is not a JPEG, PNG, BMP or PPM image"


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    assert unreadable(tmp_path / "a.jpg") == "no such file or directory"


def test_formats_that_were_not_asked_for_are_not_decoded(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    assert unreadable(tmp_path / "a.png") == "it is not a JPEG, PNG, BMP or PPM image"


def test_16_bit_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a.png")
    assert unreadable(tmp_path / "a.png") == "its pixels are not 8-bit (Pillow's mode I;16)"


@pytest.mark.parametrize("kept", [60, 300, 500])
def test_a_truncated_image_is_refused(tmp_path: Path, kept: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    whole = save(tmp_path / "whole.png", pixels).read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:kept])
    assert unreadable(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ("9000 9000", "9000x9000 is more than 67108864 pixels"),
        ("12000 12000", "it has more than 67108864 pixels"),
        ("30000 30000", "it has more than 67108864 pixels"),
    ],
)
def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path, size: str, reason: str) -> None:
    (tmp_path / "a.ppm").write_bytes(f"P6 {size} 255\n".encode())
    assert unreadable(tmp_path / "a.ppm") == reason


def test_a_thin_image_cannot_be_blown_up(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((1, 5000), np.uint8))
    assert unreadable(path, "resize-short=256") == "1280000x256 is more than 67108864 pixels"


def test_a_crop_larger_than_the_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((9, 7, 3), np.uint8))
    with pytest.raises(DiagnosticError) as caught:
        read_image(path, Preprocess.parse("bgr,center-crop=8"))
    (told,) = caught.value.diagnostics
    assert told.code == "AM447"
    assert told.message == f"`center-crop=8` does not fit into `{path}`, which has 7x9 pixels there"
    assert told.span is not None and told.span.text == "center-crop=8"


@needs_assets
def test_a_real_photograph_gives_what_pillow_and_numpy_give_by_hand() -> None:
    path = ASSETS / "data" / "imagenet" / "n01806567_quail.JPEG"
    text = "resize-short=256,center-crop=227,bgr,mean=104:117:123"
    with Image.open(path) as opened:
        image = opened.convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 227) // 2, (image.height - 227) // 2
    pixels = np.asarray(image)[top : top + 227, left : left + 227, ::-1].astype(np.float32)
    expected = (pixels - np.array([104, 117, 123], np.float32)).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(path, Preprocess.parse(text)), expected)
