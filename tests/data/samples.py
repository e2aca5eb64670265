"""The same samples as data of every kind, how they are read, and what is told of data that are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.runtime.datasets import Data, Dataset
from amctc.runtime.preprocess import Preprocess

INPUTS = {"data": (1, 3, 4, 5)}
TWO = {"left": (1, 2), "right": (1, 3)}
SAMPLES = np.arange(7 * 60, dtype=np.float32).reshape(7, 3, 4, 5)


def refused(call: Callable[[], object]) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        call()
    (told,) = caught.value.diagnostics
    return told


def refusal(data: Data, inputs: Mapping[str, tuple[int, ...]] = INPUTS, preprocess: str | None = None) -> Diagnostic:
    """What is told about data that cannot be opened."""
    steps = Preprocess.parse(preprocess) if preprocess is not None else None
    return refused(lambda: Dataset.open(data, inputs=inputs, preprocess=steps))


def sizes(dataset: Dataset, batch_size: int, limit: int | None = None, exact: bool = False) -> list[int]:
    return [len(batch["data"]) for batch in dataset.batches(batch_size, limit, exact=exact)]


def everything(dataset: Dataset, batch_size: int = 3) -> NDArray[np.float32]:
    return np.concatenate([batch["data"] for batch in dataset.batches(batch_size)])


def write_npz(path: Path, **arrays: NDArray[Any]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub takes the keyword allow_pickle for an array name
    return path


def write_npy(path: Path, array: NDArray[Any] = SAMPLES) -> Path:
    np.save(path, array)
    return path


def write_bin(path: Path, array: NDArray[Any] = SAMPLES) -> Path:
    path.write_bytes(array.astype("<f4").tobytes())
    return path


def write_images(folder: Path, count: int = 3, size: tuple[int, int] = (5, 4)) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number, 100, 200)).save(folder / f"{number}.png")
    return folder


def yielded() -> Iterator[NDArray[np.float32]]:
    yield from SAMPLES


def every_kind(folder: Path) -> list[Data]:
    return [
        write_npz(folder / "a.npz", data=SAMPLES, label=np.arange(7)),
        str(write_npy(folder / "a.npy")),
        write_npy(folder / "fortran.npy", np.asfortranarray(SAMPLES)),
        write_bin(folder / "a.bin"),
        f"{write_bin(folder / 'b.bin', SAMPLES[:3])},{write_bin(folder / 'c.bin', SAMPLES[3:])}",
        SAMPLES,
        {"data": SAMPLES, "label": np.arange(7)},
        list(SAMPLES),
        [SAMPLES[:2], SAMPLES[2:]],
        [{"data": sample} for sample in SAMPLES],
        yielded(),
        (SAMPLES[start : start + 1] for start in range(7)),
    ]
