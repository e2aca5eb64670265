"""Images are decoded ahead by threads: in the same order, with the same samples and the same mistakes."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc.runtime.ahead import decoding_threads, in_order
from amctc.runtime.datasets import Dataset
from amctc.runtime.image_source import ImageSource
from amctc.runtime.images import read_image
from amctc.runtime.preprocess import Preprocess
from tests.data.samples import INPUTS, everything, refused, write_images


def with_threads(dataset: Dataset, threads: int) -> Dataset:
    assert isinstance(dataset.source, ImageSource)
    return replace(dataset, source=replace(dataset.source, threads=threads))


def decoders() -> int:
    return sum(thread.name.startswith("amctc-ahead") for thread in threading.enumerate())


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_threads_change_nothing_of_the_samples(tmp_path: Path, threads: int, size: int) -> None:
    dataset = with_threads(Dataset.open(write_images(tmp_path / "in", 20), inputs=INPUTS), threads)
    assert dataset.names is not None
    order = [int(Path(name).stem) for name in dataset.names]
    np.testing.assert_array_equal(everything(dataset, size)[:, 0, 0, 0], order)
    np.testing.assert_array_equal(everything(dataset.select(5, 17), size)[:, 0, 0, 0], order[5:17])
    assert not decoders()


def test_the_next_images_are_decoded_while_a_batch_is_used_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    ready = threading.Event()

    def counting(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
        decoded.append(path)
        if len(decoded) == 8:
            ready.set()
        return read_image(path, preprocess)

    monkeypatch.setattr("amctc.runtime.images.read_image", counting)
    batches = with_threads(Dataset.open(write_images(tmp_path / "in", 40), inputs=INPUTS), 1).batches(4)
    assert decoded == []
    next(batches)
    assert ready.wait(60)  # the batch that was given and the next one
    batches.close()
    assert len(decoded) == 8 and not decoders()


def test_images_that_wait_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counting(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
        decoded.append(path)
        return read_image(path, preprocess)

    monkeypatch.setattr("amctc.runtime.images.read_image", counting)
    monkeypatch.setattr("amctc.runtime.image_source.AHEAD_BYTES", 2 * 3 * 4 * 5 * 4)
    batches = with_threads(Dataset.open(write_images(tmp_path / "in", 40), inputs=INPUTS), 2).batches(10)
    next(batches)
    batches.close()
    assert 10 <= len(decoded) <= 12


@pytest.mark.parametrize("threads", [0, 2])
def test_a_broken_image_is_told_with_its_path_where_its_turn_is(tmp_path: Path, threads: int) -> None:
    folder = write_images(tmp_path / "in", 9)
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:40])
    (folder / "7.png").write_bytes(b"")
    batches = with_threads(Dataset.open(folder, inputs=INPUTS), threads).batches(2)
    assert [len(next(batches)["data"]) for _ in range(2)] == [2, 2]
    told = refused(lambda: next(batches))
    assert (told.code, told.file) == ("AM444", str(folder / "5.png"))
    assert told.message.startswith(f"image `{folder / '5.png'}` cannot be used: ")
    assert told.help is not None and told.help.startswith("mend the file, or take it away")
    assert not decoders()


@pytest.mark.parametrize("threads", [0, 2])
def test_every_mistake_in_an_image_names_it(tmp_path: Path, threads: int) -> None:
    folder = write_images(tmp_path / "in", 9)
    path = folder / "6.png"
    dataset = with_threads(Dataset.open(folder, inputs=INPUTS), threads)
    Image.new("RGB", (6, 4)).save(path)
    told = refused(lambda: everything(dataset))
    assert (told.code, told.file) == ("AM402", str(path))

    Image.new("RGB", (5, 4), (0, 0, 255)).save(path)
    steps = Preprocess.parse("mean=200,scale=1e37")
    dataset = with_threads(Dataset.open(folder, inputs=INPUTS, preprocess=steps), threads)
    told = refused(lambda: everything(dataset))
    assert (told.code, told.file) == ("AM404", str(folder / "0.png"))
    assert told.message == f"sample 0 of input `data` (image `{folder / '0.png'}`) holds -inf as float32"

    np.save(tmp_path / "mean.npy", np.ones((3, 4, 5), np.float32))
    Image.new("RGB", (5, 9)).save(path)
    steps = Preprocess.parse(f"mean={tmp_path / 'mean.npy'}")
    dataset = with_threads(Dataset.open(folder, inputs=INPUTS, preprocess=steps), threads)
    told = refused(lambda: everything(dataset))
    assert told.code == "AM447" and told.notes == (f"the image is `{path}`",)


def test_few_images_and_a_single_core_start_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = {0, 1, 2, 3}
    monkeypatch.setattr("os.sched_getaffinity", lambda process: cores, raising=False)
    assert [decoding_threads(items) for items in (1, 7, 8, 10_000)] == [0, 0, 1, 1]
    cores = set(range(8))
    assert decoding_threads(10_000) == 2
    cores = {0}
    assert decoding_threads(10_000) == 0


def test_what_is_made_ahead_comes_in_order_and_stops_when_nobody_asks() -> None:
    asked: list[int] = []

    def read(item: int) -> int:
        asked.append(item)
        if item == 50:
            raise ValueError("fifty")
        return item * item

    made = in_order(read, range(100), threads=3, ahead=5)
    assert [next(made) for _ in range(40)] == [item * item for item in range(40)]
    assert max(asked) < 46
    with pytest.raises(ValueError, match="fifty"):
        list(made)
    assert not decoders()
