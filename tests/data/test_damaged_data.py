"""Files of data that are cut off, corrupted or lie about their size are refused without taking memory."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.runtime.datasets import Dataset
from tests.data.samples import INPUTS, SAMPLES, everything, refusal, refused, write_bin, write_images


def test_a_raw_file_must_be_whole_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0" * 250)
    told = refusal(path)
    assert (told.code, told.file) == ("AM402", str(path))
    assert told.message == (
        f"`{path}` has 250 bytes, which is not a whole number of samples: one of input `data`, "
        "float32 (3, 4, 5), takes 240"
    )
    path.write_bytes(b"")
    assert refusal(path).code == "AM402"
    told = refusal(write_bin(path), {"data": (1, 3, 0, 5)})
    assert told.message == "the shape of input `data` is not fixed, and a .bin file does not hold it"


def test_a_raw_file_that_shrinks_is_told(tmp_path: Path) -> None:
    path = write_bin(tmp_path / "a.bin")
    dataset = Dataset.open(path, inputs=INPUTS)
    os.truncate(path, 300)
    told = refused(lambda: everything(dataset))
    assert (told.code, told.message) == ("AM441", f"`{path}` became shorter while it was read")
    path.unlink()
    assert refused(lambda: everything(dataset)).message == f"`{path}` cannot be read: No such file or directory"


def npy_bytes(shape: str, version: int = 1) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(head).to_bytes(2 if version == 1 else 4, "little") + head


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x93NUMPY\x09\x00",
        npy_bytes("(1, 3, 4, 5)"),
        npy_bytes("(100000000000, 3, 4, 5)"),
        npy_bytes("(-1, 3, 4, 5)"),
        npy_bytes("__import__('os').getcwd()"),
        npy_bytes("(1, 3, 4, 5)", 3),
    ],
)
def test_a_damaged_array_file_is_refused_without_taking_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", content)
    (tmp_path / "b.npz").write_bytes(content)
    for name in ("a.npy", "a.npz", "b.npz"):
        told = refusal(tmp_path / name)
        assert told.code == "AM441"
        assert told.message.startswith(f"`{tmp_path / name}` cannot be read: ")


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", npy_bytes("(100000000, 3, 4, 5)"))
    lie = (4_000_000_000).to_bytes(4, "little")
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = lie
    path.write_bytes(content)
    told = refusal(path)
    assert told.code == "AM441" and "claims 4000000000 bytes, which cannot be" in told.message


@given(st.binary(max_size=40), st.integers(0, 2000))
def test_a_corrupted_archive_never_crashes(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=SAMPLES)
    content = bytearray(buffer.getvalue())
    at = min(at, len(content))
    content[at : at + len(junk)] = junk
    path = tmp_path_factory.getbasetemp() / "corrupted.npz"
    path.write_bytes(content)
    try:
        everything(Dataset.open(path, inputs=INPUTS))
    except DiagnosticError as refusal:
        assert refusal.diagnostics[0].code.startswith("AM4")


def test_an_unreadable_image_is_named_when_it_is_reached(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 3)
    (folder / "2.png").write_bytes(b"no image")
    batches = Dataset.open(folder, inputs=INPUTS).batches(2)
    next(batches)
    told = refused(lambda: next(batches))
    assert (told.code, told.file) == ("AM444", str(folder / "2.png"))
