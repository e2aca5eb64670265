"""Large arrays in files are read by rows: the numbers, the memory it takes, and what is told of damage."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.runtime.datasets import Dataset
from amctc.runtime.stored_arrays import WHOLE, StoredArray, stored_npy, stored_npz
from tests.data.samples import everything, refusal, refused, write_npz

INPUTS = {"data": (1, 3, 64, 64)}
COUNT = 600
LARGE = np.random.default_rng(0).integers(0, 64, (COUNT, 3, 64, 64), np.uint8)
"""7 MiB, more than is read at once."""


def compressed(path: Path, array: NDArray[np.uint8]) -> Path:
    np.savez_compressed(path, data=array)
    return path


def every_file(folder: Path) -> list[Path]:
    np.save(folder / "a.npy", LARGE)
    return [folder / "a.npy", write_npz(folder / "a.npz", data=LARGE), compressed(folder / "b.npz", LARGE)]


def test_large_arrays_are_read_by_rows_and_small_ones_at_once(tmp_path: Path) -> None:
    assert LARGE.nbytes > WHOLE
    plain, stored, packed = every_file(tmp_path)
    assert isinstance(stored_npy(plain), StoredArray)
    for path in (stored, packed):
        assert isinstance(stored_npz(path, ["data"])["data"], StoredArray)
    small = write_npz(tmp_path / "small.npz", data=LARGE[:8])
    assert isinstance(stored_npz(small, ["data"])["data"], np.ndarray)


def test_rows_are_those_of_the_whole_array(tmp_path: Path) -> None:
    for path in every_file(tmp_path):
        dataset = Dataset.open(path, inputs=INPUTS)
        assert len(dataset) == COUNT
        np.testing.assert_array_equal(everything(dataset, 77), LARGE)
        np.testing.assert_array_equal(everything(dataset.select(250, 260)), LARGE[250:260])
        one, other = dataset.batches(5), dataset.batches(5)  # two runs at once do not disturb each other
        for first in (0, 5, 10):
            np.testing.assert_array_equal(next(one)["data"], LARGE[first : first + 5])
        np.testing.assert_array_equal(next(other)["data"], LARGE[:5])
        one.close()
        other.close()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<i8", "?"])
def test_rows_of_every_element_type_are_read(tmp_path: Path, dtype: str) -> None:
    array = (np.arange(300 * 5000) % 2).reshape(300, 5000).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", data=np.tile(array, (3, 1)))
    for name in ("a.npy", "a.npz"):
        batch = next(Dataset.open(tmp_path / name, inputs={"data": (1, 5000)}).select(7).batches(3))["data"]
        assert batch.dtype == np.dtype(np.float32) and batch.dtype.isnative and batch.flags.writeable
        np.testing.assert_array_equal(batch, array[7:10].astype(np.float32))


def test_arrays_in_fortran_order_are_read_too(tmp_path: Path) -> None:
    fortran = np.asfortranarray(LARGE)
    np.save(tmp_path / "a.npy", fortran)
    for path in (
        tmp_path / "a.npy",
        write_npz(tmp_path / "a.npz", data=fortran),
        compressed(tmp_path / "b.npz", fortran),
    ):
        np.testing.assert_array_equal(everything(Dataset.open(path, inputs=INPUTS), 100), LARGE)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_reading_takes_the_memory_of_a_batch_however_long_the_array_is(tmp_path: Path, kind: int) -> None:
    path = every_file(tmp_path)[kind]
    tracemalloc.start()
    try:
        dataset = Dataset.open(path, inputs=INPUTS)
        for _ in dataset.batches(4):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A batch is 48 KiB of bytes and 192 KiB of float32; a block that is unpacked is 256 KiB.
    assert peak < LARGE.nbytes / 4


def test_a_file_that_becomes_shorter_is_told_when_its_rows_are_due(tmp_path: Path) -> None:
    plain, stored, _ = every_file(tmp_path)
    for path in (plain, stored):
        dataset = Dataset.open(path, inputs=INPUTS)
        os.truncate(path, LARGE.nbytes // 2)
        batches = dataset.batches(100)
        np.testing.assert_array_equal(next(batches)["data"], LARGE[:100])
        told = refused(partial(everything, dataset, 100))
        assert (told.code, told.file) == ("AM441", str(path))
        assert told.message == f"`{path}` became shorter while it was read"
        assert told.help is not None and told.help.startswith("rows 200 to 299")
        path.unlink()
        assert refused(partial(everything, dataset)).code == "AM441"
        batches.close()


def test_damage_in_a_member_names_its_rows(tmp_path: Path) -> None:
    _, stored, packed = every_file(tmp_path)
    content = bytearray(packed.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    packed.write_bytes(content)
    dataset = Dataset.open(packed, inputs=INPUTS)
    np.testing.assert_array_equal(next(dataset.batches(10))["data"], LARGE[:10])
    told = refused(lambda: everything(dataset, 10))
    assert (told.code, told.file) == ("AM441", str(packed))
    assert told.message.startswith(f"`{packed}` cannot be read: rows ")
    assert " of the array `data`: " in told.message

    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    dataset = Dataset.open(stored, inputs=INPUTS)
    assert everything(dataset.select(0, 100)).shape[0] == 100
    told = refused(lambda: everything(dataset, 100))
    assert told.message.startswith(f"`{stored}` cannot be read: rows 500 to 599 of the array `data`: the checksum")


def test_an_array_that_is_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LARGE)
    content = (tmp_path / "a.npy").read_bytes()[:-1]
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", content)
    for name in ("a.npy", "a.npz"):
        told = refusal(tmp_path / name, INPUTS)
        assert told.code == "AM441" and f"but only {len(content)} bytes" in told.message


def test_headers_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    stored = write_npz(tmp_path / "a.npz", data=LARGE)
    content = bytearray(stored.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 20 : at + 24] = (LARGE.nbytes // 2).to_bytes(4, "little")  # the packed size
    stored.write_bytes(content)
    assert refusal(stored, INPUTS).code == "AM441"
