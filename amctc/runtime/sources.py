"""Where samples come from. Each source reads one batch at a time and keeps none."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.runtime.samples import (
    Batch,
    Place,
    SampleShape,
    check_array_shape,
    common_count,
    is_image,
    prepare,
    runs,
    sample_bytes,
)
from amctc.runtime.stored_arrays import StoredArray

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess

Rows = NDArray[Any] | StoredArray
"""An array in memory or mapped from disk, or one that is read by rows."""


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

    def pick(self, numbers: Sequence[int]) -> Source:
        """A source of the samples of these numbers alone, which ascend. The number of samples must be known."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Arrays, one an input; so many `rows` of the first axis are a sample, or one.

    `picked` are the numbers of the samples that count, which ascend; None for all.
    """

    arrays: Mapping[str, Rows]
    total: int
    preprocess: Preprocess | None = None
    path: Path | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, SampleShape] = field(default_factory=dict)
    picked: Sequence[int] | None = None

    @staticmethod
    def open(
        arrays: Mapping[str, Rows],
        shapes: Mapping[str, SampleShape],
        preprocess: Preprocess | None,
        path: Path | None = None,
    ) -> ArraySource:
        """Raises `DiagnosticError`: AM402 a shape, AM443 where the inputs differ in their samples, AM440 for none."""
        file = str(path) if path is not None else None
        for name, shape in shapes.items():
            check_array_shape(arrays[name].shape, shape, file)
        lengths = {name: len(array) for name, array in arrays.items()}
        count = common_count(lengths, shapes, file)
        rows = {name: length // count for name, length in lengths.items()}
        return ArraySource(arrays, count, preprocess, path, rows, shapes)

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the samples that count."""
        return range(self.total) if self.picked is None else self.picked

    @property
    def count(self) -> int:
        return len(self.numbers)

    def pick(self, numbers: Sequence[int]) -> ArraySource:
        return replace(self, picked=_picked(self.picked, numbers))

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        place = Place("", str(self.path)) if self.path is not None else Place()
        with ExitStack() as files:
            readers = {name: _reader(array, files) for name, array in self.arrays.items()}
            for numbers in _parts(self.numbers, start, stop, size):
                batch = {name: self._read(name, readers[name], numbers, place) for name in self.arrays}
                yield prepare(batch, self.preprocess, numbers, lambda number: place)

    def samples_in(self, batch: Batch) -> int:
        name, array = next(iter(batch.items()))
        return len(array) // self.rows.get(name, 1)

    def _read(
        self, name: str, read: Callable[[int, int], NDArray[Any]], numbers: Sequence[int], place: Place
    ) -> NDArray[Any]:
        rows = self.rows.get(name, 1)
        parts = [read(first * rows, last * rows) for first, last in runs(numbers)]
        shape = self.shapes.get(name, SampleShape(name, None))
        images = self.preprocess is not None and is_image(self.arrays[name].ndim, len(self.arrays))
        owned = len(parts) > 1 or isinstance(self.arrays[name], StoredArray)
        return shape.numbers(_joined(parts), images, owned=owned, file=place.file)


@dataclass(frozen=True)
class BinSource:
    """Raw little-endian files without a header, each with one sample or more of a fixed shape and element type.

    `picked` are the numbers of the samples that count, which ascend; None for all.
    """

    files: tuple[tuple[Path, int], ...]
    shape: SampleShape
    preprocess: Preprocess | None = None
    picked: Sequence[int] | None = None

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
    def total(self) -> int:
        return sum(count for _, count in self.files)

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the samples that count."""
        return range(self.total) if self.picked is None else self.picked

    @property
    def count(self) -> int:
        return len(self.numbers)

    def pick(self, numbers: Sequence[int]) -> BinSource:
        return replace(self, picked=_picked(self.picked, numbers))

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        ends = list(accumulate(count for _, count in self.files))
        for numbers in _parts(self.numbers, start, stop, size):
            parts = [part for first, last in runs(numbers) for part in self._read(first, last, ends)]
            batch = {self.shape.input: _joined(parts).reshape(len(numbers), *(self.shape.sides or ()))}
            yield prepare(batch, self.preprocess, numbers, self.place)

    def samples_in(self, batch: Batch) -> int:
        return len(batch[self.shape.input])

    def place(self, number: int) -> Place:
        """Where the sample of a number lies among all samples of the files."""
        ends = list(accumulate(count for _, count in self.files))
        index = bisect_right(ends, number)
        path, count = self.files[index]
        return Place(f" (from byte {(number - ends[index] + count) * sample_bytes(self.shape)} of `{path}`)", str(path))

    def _read(self, start: int, stop: int, ends: list[int]) -> Iterator[NDArray[Any]]:
        """The samples from `start` up to `stop` (excluded), file by file; `ends` are where the files' samples end."""
        index = bisect_right(ends, start)
        while start < stop:
            path, count = self.files[index]
            last = min(stop, ends[index])
            yield self._read_file(path, start - (ends[index] - count), last - start)
            start, index = last, index + 1

    def _read_file(self, path: Path, skip: int, count: int) -> NDArray[Any]:
        one, kind = sample_bytes(self.shape), np.dtype(self.shape.stored).newbyteorder("<")
        try:
            data = np.fromfile(path, kind, count * one // kind.itemsize, offset=skip * one)
        except OSError as problem:
            raise error("AM441", f"`{path}` cannot be read: {problem.strerror}", file=str(path)) from None
        if data.nbytes != count * one:
            help = f"a sample was to begin at byte {skip * one + data.nbytes // one * one}"
            raise error("AM441", f"`{path}` became shorter while it was read", file=str(path), help=help)
        return self.shape.numbers(data, images=self.preprocess is not None, owned=True, file=str(path))


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

    def pick(self, numbers: Sequence[int]) -> JoinedSource:
        parts = tuple(
            part.pick([number * rows + row for number in numbers for row in range(rows)])
            for part, rows in zip(self.parts, self.rows, strict=True)
        )
        return JoinedSource(parts, self.rows, len(numbers))


def _reader(array: Rows, files: ExitStack) -> Callable[[int, int], NDArray[Any]]:
    """What gives rows from one number up to another; `files` closes what it reads from."""
    if isinstance(array, StoredArray):
        return files.enter_context(array.opened()).rows
    return lambda start, stop: array[start:stop]


def _picked(before: Sequence[int] | None, numbers: Sequence[int]) -> Sequence[int]:
    return tuple(numbers) if before is None else tuple(before[number] for number in numbers)


def _parts(numbers: Sequence[int], start: int, stop: int | None, size: int) -> Iterator[Sequence[int]]:
    """Numbers `start` up to `stop` (excluded), `size` at a time."""
    chosen = numbers[start:stop]
    for first in range(0, len(chosen), size):
        yield chosen[first : first + size]


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
