"""Where samples come from. Each source reads one batch at a time and keeps none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.runtime.images import read_image
from amctc.runtime.preprocess import Preprocess
from amctc.runtime.samples import (
    Batch,
    Floats,
    SampleShape,
    check_array_shape,
    check_finite,
    common_count,
    is_image,
    prepare,
    sample_bytes,
    shape_text,
)


class Source(Protocol):
    """Samples in a fixed order, which can be read from any of them on."""

    @property
    def count(self) -> int | None:
        """Number of samples, or None where only reading to the end would tell."""
        ...

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        """Batches of `size` samples from `start` up to `stop` (excluded); the last may be shorter.

        Each maps every input to numbers [samples, …], see `Batch`; the arrays belong to the caller.
        """
        ...

    def samples_in(self, batch: Batch) -> int:
        """How many samples a batch that this source gave holds."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Arrays in memory or mapped from disk, one an input; so many `rows` of the first axis are a sample, or one."""

    arrays: Mapping[str, NDArray[Any]]
    count: int
    preprocess: Preprocess | None = None
    path: Path | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, SampleShape] = field(default_factory=dict)

    @staticmethod
    def open(
        arrays: Mapping[str, NDArray[Any]],
        shapes: Mapping[str, SampleShape],
        preprocess: Preprocess | None,
        path: Path | None = None,
    ) -> ArraySource:
        """Raises `DiagnosticError`: AM402 a shape, AM443 where the inputs differ in their samples, AM440 for none."""
        file = str(path) if path is not None else None
        for name, shape in shapes.items():
            check_array_shape(arrays[name], shape, file)
        lengths = {name: len(array) for name, array in arrays.items()}
        count = common_count(lengths, shapes, file)
        rows = {name: length // count for name, length in lengths.items()}
        return ArraySource(arrays, count, preprocess, path, rows, shapes)

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        end = self.count if stop is None else min(stop, self.count)
        file = str(self.path) if self.path is not None else None
        for first in range(start, end, size):
            last = min(first + size, end)
            batch: Batch = {}
            for name, array in self.arrays.items():
                rows = self.rows.get(name, 1)
                shape = self.shapes.get(name, SampleShape(name, None))
                images = self.preprocess is not None and is_image(array, len(self.arrays))
                batch[name] = shape.numbers(array[first * rows : last * rows], images)
            yield prepare(batch, self.preprocess, first, file)

    def samples_in(self, batch: Batch) -> int:
        name, array = next(iter(batch.items()))
        return len(array) // self.rows.get(name, 1)


@dataclass(frozen=True)
class ImageSource:
    """Image files, one sample each."""

    paths: tuple[Path, ...]
    shape: SampleShape
    preprocess: Preprocess

    @property
    def count(self) -> int:
        return len(self.paths)

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        end = self.count if stop is None else min(stop, self.count)
        expected = self.shape
        for first in range(start, end, size):
            paths = self.paths[first : min(first + size, end)]
            batch: Floats = np.empty(0, np.float32)
            for row, path in enumerate(paths):
                image = read_image(path, self.preprocess)
                self._check(expected, path, image.shape)
                if row == 0:
                    batch = np.empty((len(paths), *image.shape), np.float32)
                    expected = SampleShape(self.shape.input, image.shape)
                batch[row] = image
            check_finite(batch, self.shape.input, first)
            yield {self.shape.input: batch}

    def samples_in(self, batch: Batch) -> int:
        return len(batch[self.shape.input])

    def _check(self, expected: SampleShape, path: Path, shape: tuple[int, ...]) -> None:
        if expected.fits(shape):
            return
        if self.shape.fits(shape):  # so it is unlike the images before it
            message = f"image `{path}` gives {shape_text(shape)}, the images before it {expected}"
            help = "add `resize` or `center-crop` to the preprocessing, so that all have one size"
            raise error("AM402", message, file=str(path), help=help)
        self.shape.check(shape, f"image `{path}` gives", str(path), self._advice(shape))

    def _advice(self, found: tuple[int, ...]) -> str | None:
        """What to add to the preprocessing so that an image fits; None where that is not plain."""
        wanted = self.shape.sides or ()
        if len(wanted) != 3 or len(found) != 3:
            return None
        if self.preprocess.layout == "chw" and wanted[2] in (1, 3) and wanted[0] > 4:
            return "this input has its channels last: add `layout=hwc` to the preprocessing"
        channels, height, width = wanted if self.preprocess.layout == "chw" else (wanted[2], *wanted[:2])
        if channels == 1 and not self.preprocess.is_gray:
            return "add `gray` to the preprocessing"
        if height <= 0 or width <= 0:
            return None
        return f"add `resize={width}x{height}`, or `resize-short` and `center-crop`, to the preprocessing"


@dataclass(frozen=True)
class BinSource:
    """Raw little-endian files without a header, each with one sample or more of a fixed shape and element type."""

    files: tuple[tuple[Path, int], ...]
    shape: SampleShape
    preprocess: Preprocess | None = None

    @staticmethod
    def open(paths: tuple[Path, ...], shape: SampleShape, preprocess: Preprocess | None) -> BinSource:
        """Raises `DiagnosticError` (AM402) where a file is not a whole number of samples."""
        if not shape.is_fixed:
            raise error(
                "AM402",
                f"the shape of input `{shape.input}` is not fixed, and a .bin file does not hold it",
                help="give the data as .npy or .npz",
            )
        one = sample_bytes(shape)
        files: list[tuple[Path, int]] = []
        for path in paths:
            bytes = path.stat().st_size
            if bytes == 0 or bytes % one != 0:
                raise error(
                    "AM402",
                    f"`{path}` has {bytes} bytes, which is not a whole number of samples: "
                    f"one of input `{shape.input}`, {shape.stored} {shape}, takes {one}",
                    file=str(path),
                )
            files.append((path, bytes // one))
        return BinSource(tuple(files), shape, preprocess)

    @property
    def count(self) -> int:
        return sum(count for _, count in self.files)

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        end = self.count if stop is None else min(stop, self.count)
        for first in range(start, end, size):
            batch = {self.shape.input: self._read(first, min(first + size, end))}
            yield prepare(batch, self.preprocess, first)

    def samples_in(self, batch: Batch) -> int:
        return len(batch[self.shape.input])

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        parts: list[NDArray[Any]] = []
        begin = 0
        for path, count in self.files:
            low, high = max(start, begin), min(stop, begin + count)
            if low < high:
                parts.append(self._read_file(path, low - begin, high - low))
            begin += count
        return np.concatenate(parts).reshape(stop - start, *(self.shape.sides or ()))

    def _read_file(self, path: Path, skip: int, count: int) -> NDArray[Any]:
        one, kind = sample_bytes(self.shape), np.dtype(self.shape.stored).newbyteorder("<")
        try:
            data = np.fromfile(path, kind, count * one // kind.itemsize, offset=skip * one)
        except OSError as problem:
            raise error("AM441", f"`{path}` cannot be read: {problem.strerror}", file=str(path)) from None
        if data.nbytes != count * one:
            raise error("AM441", f"`{path}` became shorter while it was read", file=str(path))
        return self.shape.numbers(data, images=self.preprocess is not None)


@dataclass(frozen=True)
class JoinedSource:
    """Several one-input sources of `count` samples, read side by side; a sample is some rows of each."""

    parts: tuple[Source, ...]
    rows: tuple[int, ...]
    count: int

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        end = self.count if stop is None else min(stop, self.count)
        read = [
            part.batches(start * rows, end * rows, size * rows)
            for part, rows in zip(self.parts, self.rows, strict=True)
        ]
        for batches in zip(*read, strict=True):
            yield {name: array for batch in batches for name, array in batch.items()}

    def samples_in(self, batch: Batch) -> int:
        return len(next(iter(batch.values()))) // self.rows[0]
