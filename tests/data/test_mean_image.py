"""Mean images: what they are read from, what is subtracted from which pixel, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.schema import caffe_schema
from amctc.runtime.datasets import Dataset
from amctc.runtime.images import read_image
from amctc.runtime.mean_image import read_mean_image
from amctc.runtime.preprocess import Preprocess
from tests.shared_files import ASSETS, GOLDEN, needs_assets, needs_golden

LEGACY = GOLDEN / "caffe/legacy"
MEAN = np.random.default_rng(0).uniform(0, 255, (3, 9, 8)).astype(np.float32)


def npy(folder: Path, array: NDArray[Any] = MEAN) -> Path:
    path = folder / "mean.npy"
    np.save(path, array)
    return path


def binaryproto(folder: Path, *, old: bool = False, array: NDArray[np.float32] = MEAN) -> Path:
    blob: Any = caffe_schema().message("caffe.BlobProto")(data=array.ravel().tolist())
    if old:
        blob.num, (blob.channels, blob.height, blob.width) = 1, array.shape
    else:
        blob.shape.dim.extend(array.shape)
    path = folder / "mean.binaryproto"
    path.write_bytes(blob.SerializeToString())
    return path


def photograph(folder: Path, height: int, width: int) -> tuple[Path, NDArray[np.uint8]]:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder / "a.png", pixels


def as_caffe_transforms(
    data: NDArray[np.generic], mean: NDArray[np.float32], crop: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    """The data transformer of Caffe in its TEST phase, an element at a time: [C, H, W] to [C, *crop]."""
    top, left = (data.shape[1] - crop[0]) // 2, (data.shape[2] - crop[1]) // 2
    result = np.empty((data.shape[0], *crop), np.float32)
    for channel, row, column in np.ndindex(result.shape):
        place = channel, top + row, left + column
        result[channel, row, column] = (np.float32(data[place]) - mean[place]) * np.float32(scale)
    return result


@needs_golden
def test_caffes_own_mean_file_gives_caffes_own_numbers() -> None:
    with np.load(LEGACY / "mean.npz") as recorded:
        expected = recorded["mean"]
    assert expected.shape == (1, 3, 4, 5)
    batch = np.full((2, 3, 4, 5), 7, np.float32)
    result = Preprocess.parse(f'mean="{LEGACY / "mean.binaryproto"}"').batch_array(batch.copy())
    np.testing.assert_array_equal(result, batch - expected)


@needs_assets
def test_the_mean_of_cifar10_has_the_means_of_its_channels() -> None:
    image = read_mean_image(str(ASSETS / "data/cifar10_mean.binaryproto"))
    assert image.shape == (3, 32, 32)
    # To a tenth the numbers that networks for this data set are usually given instead.
    np.testing.assert_allclose(image.mean((1, 2)), [125.3, 122.95, 113.9], atol=0.06)


@pytest.mark.parametrize(
    "write", [binaryproto, partial(binaryproto, old=True), npy, partial(npy, array=MEAN[np.newaxis])]
)
def test_all_kinds_of_files_give_the_same_image(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    image = read_mean_image(str(write(tmp_path)))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, MEAN)


def test_a_quoted_file_without_a_known_ending_is_a_blob(tmp_path: Path) -> None:
    path = binaryproto(tmp_path).rename(tmp_path / "my, mean")
    steps = Preprocess.parse(f'mean="{path}"')
    np.testing.assert_array_equal(steps.batch_array(np.zeros((1, 3, 9, 8), np.float32))[0], -MEAN)


@pytest.mark.parametrize("crop", [(9, 8), (5, 5), (4, 5), (9, 3)])
def test_samples_are_prepared_as_caffes_transformer_does(tmp_path: Path, crop: tuple[int, int]) -> None:
    path, pixels = photograph(tmp_path, 9, 8)
    text = f"center-crop={crop[1]}x{crop[0]},bgr,mean={npy(tmp_path)},scale=0.017"
    expected = as_caffe_transforms(pixels[..., ::-1].transpose(2, 0, 1), MEAN, crop, 0.017)
    np.testing.assert_array_equal(read_image(path, Preprocess.parse(text)), expected)


def test_the_mean_has_the_channels_in_the_order_of_the_step_where_it_stands(tmp_path: Path) -> None:
    path, pixels = photograph(tmp_path, 9, 8)
    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    before = read_image(path, Preprocess.parse(f"mean={npy(tmp_path)},bgr"))
    np.testing.assert_array_equal(before, (planes - MEAN)[::-1])
    after = read_image(path, Preprocess.parse(f"bgr,mean={npy(tmp_path)}"))
    np.testing.assert_array_equal(after, planes[::-1] - MEAN)


def test_the_mean_is_turned_with_the_image(tmp_path: Path) -> None:
    path, pixels = photograph(tmp_path, 9, 8)
    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    text = f"mean={npy(tmp_path)},transpose-hw"
    np.testing.assert_array_equal(read_image(path, Preprocess.parse(text)), (planes - MEAN).transpose(0, 2, 1))
    last = read_image(path, Preprocess.parse(f"{text},layout=hwc"))
    np.testing.assert_array_equal(last, (planes - MEAN).transpose(2, 1, 0))


def test_arrays_take_a_mean_image_in_either_layout(tmp_path: Path) -> None:
    batch = np.random.default_rng(2).uniform(0, 255, (2, 3, 9, 6)).astype(np.float32)
    text = f"mean={npy(tmp_path)},scale=0.1"
    expected = (batch - MEAN[:, :, 1:7]) * np.float32(0.1)
    np.testing.assert_array_equal(Preprocess.parse(text).batch_array(batch.copy()), expected)
    last = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
    found = Preprocess.parse(f"{text},layout=hwc").batch_array(last)
    np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1))


def test_a_data_set_reads_the_file_once(tmp_path: Path) -> None:
    path = binaryproto(tmp_path)
    images = np.zeros((4, 3, 9, 8), np.uint8)
    dataset = Dataset.open(images, inputs={"data": (1, 3, 9, 8)}, preprocess=Preprocess.parse(f"mean={path}"))
    path.unlink()
    found = np.concatenate([batch["data"] for batch in dataset.batches(2)])
    np.testing.assert_array_equal(found, np.broadcast_to(-MEAN, found.shape))


def test_reading_does_not_change_what_is_written(tmp_path: Path) -> None:
    steps = Preprocess.parse(f"mean={npy(tmp_path)}")
    assert steps.opened() == steps
    assert str(steps.opened()) == str(steps)


@pytest.mark.parametrize(
    ("shape", "layout", "told"),
    [
        ((2, 3, 10, 8), "chw", "(3, 10, 8)"),
        ((2, 3, 9, 9), "chw", "(3, 9, 9)"),
        ((2, 1, 9, 8), "chw", "(1, 9, 8)"),
        ((2, 9, 10, 3), "hwc", "(3, 9, 10)"),
        ((2, 9, 8, 3), "chw", "(9, 8, 3)"),
        ((2, 27), "chw", "(27,)"),
        ((2, 3, 3, 9, 8), "chw", "(3, 3, 9, 8)"),
        ((2,), "chw", "()"),
    ],
)
def test_samples_of_another_size_are_refused_with_both_sizes(
    tmp_path: Path, shape: tuple[int, ...], layout: str, told: str
) -> None:
    path = npy(tmp_path)
    with pytest.raises(DiagnosticError) as caught:
        Preprocess.parse(f"layout={layout},mean={path}").batch_array(np.zeros(shape, np.float32))
    (refusal,) = caught.value.diagnostics
    assert refusal.code == "AM447"
    assert refusal.message == f"the mean image `{path}` has the shape (3, 9, 8), the samples have {told}"
    assert refusal.span is not None and refusal.span.text == f"mean={path}"


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(DiagnosticError) as caught:
        Dataset.open(
            np.zeros((1, 3, 9, 8), np.uint8),
            inputs={"data": (1, 3, 9, 8)},
            preprocess=Preprocess.parse(f'mean="{path}"'),
        )
    (told,) = caught.value.diagnostics
    assert told.file == str(path)
    return told.code, told.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.binaryproto") == ("AM310", "cannot read this file: no such file or directory")
    assert refused(tmp_path / "no.npy")[0] == "AM441"


def test_a_folder_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path) == ("AM310", "this is not a regular file")


@pytest.mark.parametrize("kept", [1, 100, 800])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, kept: int) -> None:
    for path, code in ((binaryproto(tmp_path), "AM311"), (npy(tmp_path), "AM441")):
        path.write_bytes(path.read_bytes()[:kept])
        assert refused(path)[0] == code


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_text("hello", encoding="utf-8")
    assert refused(path)[0] == "AM311"
    assert refused(npy(tmp_path, np.array(["a"])))[0] == "AM442"


@pytest.mark.parametrize("shape", [(3,), (9, 8), (2, 3, 9, 8), (3, 0, 8), ()])
def test_an_array_that_is_no_image_is_told(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = f"a mean image has the shape (channels, height, width), this one {shape}"
    assert refused(npy(tmp_path, np.zeros(shape, np.float32))) == ("AM402", message)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_mean_that_is_not_finite_is_told_with_its_place(tmp_path: Path, value: float) -> None:
    array = MEAN.astype(np.float64)
    array[2, 3, 4] = value
    code, message = refused(npy(tmp_path, array))
    assert code == "AM404"
    assert message.endswith("as float32, at channel 2, row 3, column 4")


def test_an_array_of_more_numbers_than_an_image_can_have_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mean.npy"
    sides = 1, 2**14 + 1, 2**14
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": sides})
        file.truncate(file.tell() + 2**29)
    assert refused(path) == ("AM402", f"a mean image has at most {2**28} numbers, this one {2**28 + 2**14}")


@pytest.mark.parametrize("header", ["{'shape': (1, ", "  x\n y", "{[]: 1}", "((" * 300, "1 1", "\0"])
def test_a_damaged_header_is_told(tmp_path: Path, header: str) -> None:
    path = tmp_path / "mean.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))
    assert refused(path)[0] == "AM441"
