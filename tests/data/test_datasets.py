"""Data of every kind are read as batches of float32: which samples, in which order, and how many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from amctc.runtime.datasets import Data, Dataset, require_batches
from amctc.runtime.images import read_image
from amctc.runtime.preprocess import Preprocess
from tests.data.samples import (
    INPUTS,
    SAMPLES,
    TWO,
    every_kind,
    everything,
    refused,
    sizes,
    write_bin,
    write_images,
    write_npz,
    yielded,
)
from tests.shared_files import ASSETS, needs_assets


@pytest.mark.parametrize("kind", range(12))
def test_every_kind_of_data_gives_the_same_samples(tmp_path: Path, kind: int) -> None:
    dataset = Dataset.open(every_kind(tmp_path)[kind], inputs=INPUTS)
    batches = [batch["data"] for batch in dataset.batches(3)]
    assert [batch.shape for batch in batches] == [(3, 3, 4, 5), (3, 3, 4, 5), (1, 3, 4, 5)]
    assert all(batch.dtype == np.float32 and batch.flags.c_contiguous for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), SAMPLES)


@pytest.mark.parametrize("kind", range(10))
def test_data_that_can_be_read_again_know_their_length_and_can_be_cut(tmp_path: Path, kind: int) -> None:
    dataset = Dataset.open(every_kind(tmp_path)[kind], inputs=INPUTS)
    assert len(dataset) == 7
    part = dataset.select(2, 6)
    assert len(part) == 4
    np.testing.assert_array_equal(everything(part), SAMPLES[2:6])
    np.testing.assert_array_equal(everything(part.select(1)), SAMPLES[3:6])
    np.testing.assert_array_equal(everything(part.select(0, 99)), SAMPLES[2:6])
    assert len(part.select(4)) == 0 and len(dataset.select(9)) == 0
    np.testing.assert_array_equal(everything(dataset), SAMPLES)


def test_an_iterator_is_read_once_and_no_further_than_asked() -> None:
    items = yielded()
    dataset = Dataset.open(items, inputs=INPUTS)
    assert dataset.count is None and bool(dataset)
    np.testing.assert_array_equal(everything(dataset.select(1, 3)), SAMPLES[1:3])
    np.testing.assert_array_equal(next(items), SAMPLES[3])
    told = refused(lambda: everything(dataset))
    assert told.code == "AM446"
    assert told.message == "the data come from an iterator, which can be read only once, and it has been read"
    told = refused(lambda: len(dataset))
    assert (told.code, told.message) == ("AM446", "the number of samples is not known before the data have been read")


def test_batches_stop_at_the_limit() -> None:
    dataset = Dataset.open(SAMPLES, inputs=INPUTS)
    assert sizes(dataset, 3) == [3, 3, 1]
    assert sizes(dataset, 3, exact=True) == [3, 3]
    assert sizes(dataset, 3, limit=1) == [3]
    assert sizes(dataset, 2, limit=9) == [2, 2, 2, 1]
    assert sizes(dataset.select(1, 5), 3, limit=2) == [3, 1]
    assert sizes(dataset, 100) == [7]
    assert sizes(dataset, 3, limit=0) == []


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_batches_laid_end_to_end_are_the_slice(size: int, start: int, length: int, as_items: bool) -> None:
    data: Data = list(SAMPLES) if as_items else SAMPLES
    dataset = Dataset.open(data, inputs=INPUTS).select(start, start + length)
    parts = [batch["data"] for batch in dataset.batches(size)]
    assert all(len(part) == size for part in parts[:-1])
    expected = SAMPLES[start : start + length]
    np.testing.assert_array_equal(np.concatenate(parts) if parts else expected[:0], expected)


@pytest.mark.parametrize("data", [SAMPLES[:5], list(SAMPLES[:5])], ids=["array", "list"])
def test_too_few_batches_are_told_before_reading(data: Data) -> None:
    dataset = Dataset.open(data, inputs=INPUTS)
    require_batches(dataset, 2, 2)
    told = refused(lambda: require_batches(dataset, 2, 3))
    assert told.code == "AM403"
    assert told.message == "the policy asks for 3 batches of 2 samples, the data holds only 5 samples"
    assert told.help == "give at least 6 samples, or lower `batch_num` or the batch size"


def test_too_few_batches_of_an_iterator_are_told_while_reading() -> None:
    dataset = Dataset.open(yielded(), inputs=INPUTS)
    require_batches(dataset, 32, 2)
    told = refused(lambda: sizes(dataset, 32, limit=1, exact=True))
    assert told.code == "AM403"
    assert told.message == "the policy asks for 1 batch of 32 samples, the data holds only 7 samples"


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_under_one_is_refused(size: int) -> None:
    told = refused(lambda: sizes(Dataset.open(SAMPLES, inputs=INPUTS), size))
    assert (told.code, told.message) == ("AM448", f"the batch size must be at least 1, not {size}")


def test_a_selection_does_not_count_from_the_end() -> None:
    with pytest.raises(ValueError, match="starts and stops at 0 or more"):
        Dataset.open(SAMPLES, inputs=INPUTS).select(-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, np.bool_, ">f4"])
def test_numbers_of_any_type_become_float32(dtype: Any) -> None:
    data = (SAMPLES % 2).astype(dtype)
    result = everything(Dataset.open(data, inputs=INPUTS))
    assert result.dtype == np.dtype(np.float32) and result.dtype.isnative
    np.testing.assert_array_equal(result, SAMPLES % 2)


def test_batches_are_copies_that_may_be_written_to() -> None:
    data = SAMPLES.copy()
    for batch in Dataset.open(data, inputs=INPUTS, preprocess=Preprocess.parse("mean=5")).batches(2):
        batch["data"] += 1
    np.testing.assert_array_equal(data, SAMPLES)


def test_only_a_batch_of_images_is_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counting(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
        decoded.append(path.name)
        return read_image(path, preprocess)

    monkeypatch.setattr("amctc.runtime.images.read_image", counting)
    dataset = Dataset.open(write_images(tmp_path / "in", 5), inputs=INPUTS)
    batches = dataset.select(1).batches(2)
    assert decoded == []
    next(batches)
    assert decoded == ["1.png", "2.png"]
    next(batches)
    assert decoded == ["1.png", "2.png", "3.png", "4.png"]


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 3)
    (folder / "labels.csv").write_text("1")
    (folder / "inner").mkdir()
    (folder / "0.png").rename(folder / "b.PNG")
    for data in (str(folder), str(folder / "*.[pP]*"), f"{tmp_path}/**/*.*[gG]"):
        dataset = Dataset.open(data, inputs=INPUTS)
        assert dataset.names is not None
        assert [Path(name).name for name in dataset.names] == ["1.png", "2.png", "b.PNG"]
        np.testing.assert_array_equal(everything(dataset)[:, 0, 0, 0], [1, 2, 0])
        assert dataset.select(1, 2).names == (str(folder / "2.png"),)
    assert len(Dataset.open(folder / "2.png", inputs=INPUTS)) == 1


def test_images_are_preprocessed(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 2, (50, 40))
    steps = Preprocess.parse("resize=5x4,bgr,mean=100")
    batch = everything(Dataset.open(folder, inputs=INPUTS, preprocess=steps))
    np.testing.assert_array_equal(batch[1, :, 0, 0], [100, 0, -99])


def test_several_inputs_are_read_side_by_side(tmp_path: Path) -> None:
    left, right = SAMPLES.reshape(7, -1)[:, :2], SAMPLES.reshape(7, -1)[:, 5:8]
    write_bin(tmp_path / "r.bin", right)
    folder = tmp_path / "left"
    folder.mkdir()
    write_bin(folder / "0.bin", left[:3])
    write_bin(folder / "1.bin", left[3:])
    kinds: list[Data] = [
        write_npz(tmp_path / "a.npz", left=left, right=right),
        f"{folder}, {tmp_path / 'r.bin'}",
        {"left": left, "right": right},
        [{"left": left[:4], "right": right[:4]}, {"left": left[4:], "right": right[4:]}],
    ]
    for data in kinds:
        batches = list(Dataset.open(data, inputs=TWO).select(1).batches(4))
        np.testing.assert_array_equal(np.concatenate([batch["left"] for batch in batches]), left[1:])
        np.testing.assert_array_equal(np.concatenate([batch["right"] for batch in batches]), right[1:])


def test_of_several_inputs_only_the_images_are_preprocessed() -> None:
    inputs = {"data": (1, 3, 4, 5), "im_info": (1, 3)}
    info = np.ones((7, 3), np.float32)
    steps = Preprocess.parse("scale=2")
    (batch,) = Dataset.open({"data": SAMPLES, "im_info": info}, inputs=inputs, preprocess=steps).batches(7)
    np.testing.assert_array_equal(batch["data"], SAMPLES * 2)
    np.testing.assert_array_equal(batch["im_info"], info)


@pytest.mark.parametrize("declared", [(64, 3, 4, 5), (0, 3, -1, 0), ()])
def test_the_batch_axis_and_free_sides_need_not_match(declared: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(everything(Dataset.open(SAMPLES, inputs={"data": declared})), SAMPLES)


def test_with_a_free_shape_only_the_rank_must_match(tmp_path: Path) -> None:
    inputs = {"data": (1, 3, 224, 224)}
    assert everything(Dataset.open(SAMPLES, inputs=inputs, free_shape=True)).shape == SAMPLES.shape
    assert refused(lambda: Dataset.open(SAMPLES[0], inputs=inputs, free_shape=True)).code == "AM402"
    folder = write_images(tmp_path / "in", 2)
    dataset = Dataset.open(folder, inputs=inputs, free_shape=True)
    assert everything(dataset).shape == (2, 3, 4, 5)
    Image.new("RGB", (6, 4)).save(folder / "2.png")
    told = refused(lambda: everything(Dataset.open(folder, inputs=inputs, free_shape=True), 2))
    assert told.code == "AM402"
    assert told.message == f"image `{folder / '2.png'}` gives (3, 4, 6), the images before it (3, 4, 5)"
    told = refused(lambda: everything(Dataset.open([SAMPLES[0], SAMPLES[0, :, :2]], inputs=inputs, free_shape=True)))
    assert told.message == "sample 1 of input `data` is (3, 2, 5), those before it (3, 4, 5)"


@needs_assets
def test_the_real_digits_are_read_whole() -> None:
    path = ASSETS / "data" / "mnist_t10k.npz"
    dataset = Dataset.open(path, inputs={"images": (100, 28, 28)}, preprocess=Preprocess.parse("scale=0.00390625"))
    assert len(dataset) == 10000 and dataset.path == path
    total = sum(float(batch["images"].sum(dtype=np.float64)) for batch in dataset.batches(512))
    with np.load(path) as archive:
        assert total == archive["images"].sum(dtype=np.int64) / 256


@needs_assets
def test_real_photographs_feed_a_real_input() -> None:
    steps = Preprocess.parse("resize-short=256,center-crop=227,bgr,mean=104:117:123")
    folder = ASSETS / "data" / "imagenet"
    dataset = Dataset.open(folder, inputs={"data": (10, 3, 227, 227)}, preprocess=steps)
    assert len(dataset) == 200
    (batch,) = dataset.select(3, 7).batches(4)
    assert batch["data"].shape == (4, 3, 227, 227)
    assert -123 <= batch["data"].min() < -80 and 100 < batch["data"].max() <= 151
