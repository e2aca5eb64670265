"""Where samples come from. Each source reads one batch at a time and keeps none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.images import read_image
from amctc.runtime.preprocess import Preprocess
from amctc.runtime.samples import (
    Batch,
    Floats,
    SampleShape,
    check_finite,
    check_type,
    missing_input,
    prepare,
    sample_bytes,
    shape_text,
    to_floats,
)


class Source(Protocol):
    """Samples in a fixed order, which can be read from any of them on."""

    @property
    def count(self) -> int | None:
        """Number of samples, or None where only reading to the end would tell."""
        ...

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        """Batches of `size` samples from `start` up to `stop` (excluded); the last may be shorter.

        Each maps every input to float32 [samples, …]; the arrays belong to the caller.
        """
        ...


@dataclass(frozen=True)
class ArraySource:
    """Arrays in memory or mapped from disk, one an input, first axis = samples."""

    arrays: Mapping[str, NDArray[Any]]
    count: int
    preprocess: Preprocess | None = None
    path: Path | None = None

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        end = self.count if stop is None else min(stop, self.count)
        file = str(self.path) if self.path is not None else None
        for first in range(start, end, size):
            part = slice(first, min(first + size, end))
            batch = {name: to_floats(array[part]) for name, array in self.arrays.items()}
            yield prepare(batch, self.preprocess, first, file)


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

    def _check(self, expected: SampleShape, path: Path, shape: tuple[int, ...]) -> None:
        if expected.fits(shape):
            return
        if self.shape.fits(shape):  # so it is unlike the images before it
            message = f"image `{path}` gives {shape_text(shape)}, the images before it {expected}"
            help = "add `resize` or `center-crop` to the preprocessing, so that all have one size"
            raise error("AM402", message, file=str(path), help=help)
        self.shape.check(shape, f"image `{path}` gives", str(path), self._advice(shape))

    def _advice(self, found: tuple[int, ...]) -> str | None:
        wanted = self.shape.sides or ()
        if len(wanted) != 3:
            return None
        if self.preprocess.layout == "chw":
            height, width, channels, last = wanted[1], wanted[2], wanted[0], wanted[2]
        else:
            height, width, channels, last = wanted[0], wanted[1], wanted[2], wanted[0]
        if channels == 1 and not self.preprocess.is_gray:
            return "add `gray` to the preprocessing"
        if self.preprocess.layout == "chw" and last in (1, 3) and channels > 4:
            return "this input has its channels last: add `layout=hwc` to the preprocessing"
        if sorted(found) == sorted(wanted):
            return None
        return f"add `resize={width}x{height}`, or `resize-short` and `center-crop`, to the preprocessing"


@dataclass(frozen=True)
class BinSource:
    """Raw little-endian float32 files without a header, each with one sample or more of a fixed shape."""

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
                    f"one of input `{shape.input}`, float32 {shape}, takes {one}",
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

    def _read(self, start: int, stop: int) -> Floats:
        parts: list[Floats] = []
        begin = 0
        for path, count in self.files:
            low, high = max(start, begin), min(stop, begin + count)
            if low < high:
                parts.append(self._read_file(path, low - begin, high - low))
            begin += count
        return np.concatenate(parts).reshape(stop - start, *(self.shape.sides or ()))

    def _read_file(self, path: Path, skip: int, count: int) -> Floats:
        one = sample_bytes(self.shape)
        try:
            data = np.fromfile(path, "<f4", count * one // 4, offset=skip * one)
        except OSError as problem:
            raise error("AM441", f"`{path}` cannot be read: {problem.strerror}", file=str(path)) from None
        if data.size * 4 != count * one:
            raise error("AM441", f"`{path}` became shorter while it was read", file=str(path))
        return data.astype(np.float32, copy=False)


@dataclass(frozen=True)
class JoinedSource:
    """Several one-input sources with the same number of samples, read side by side."""

    parts: tuple[Source, ...]
    count: int

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        for batches in zip(*(part.batches(start, stop, size) for part in self.parts), strict=True):
            yield {name: array for batch in batches for name, array in batch.items()}


class IterableSource:
    """A Python iterable of arrays, or of dicts of them by input name; an item is a sample or a batch.

    An item whose rank is that of the input's declared shape is a batch [samples, …]; with one axis
    less it is a sample. An iterator can be read only once; anything else is asked anew each time.
    """

    def __init__(
        self, items: Iterable[Any], shapes: Mapping[str, SampleShape], preprocess: Preprocess | None = None
    ) -> None:
        self.items = items
        self.shapes = shapes
        self.preprocess = preprocess
        self.spent = False
        # Looking at the shapes of a list is cheap; anything else might compute its items.
        self.count = self._count(items) if isinstance(items, list | tuple) else None

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        held: list[dict[str, Floats]] = []
        reached = start
        for number, sample in enumerate(self._samples(start, stop), start=start):
            if held:
                for name, array in sample.items():
                    self._check_alike(number, name, held[0][name].shape, array.shape)
            held.append(sample)
            if len(held) == size:
                yield self._joined(held, reached)
                reached, held = number + 1, []
        if held:
            yield self._joined(held, reached)

    def _joined(self, held: list[dict[str, Floats]], first: int) -> Batch:
        batch = {name: np.stack([sample[name] for sample in held]) for name in self.shapes}
        return prepare(batch, self.preprocess, first)

    def _samples(self, start: int, stop: int | None) -> Iterator[dict[str, Floats]]:
        number = 0
        if stop is not None and stop <= start:
            return
        for item in self._fresh():
            arrays = self._arrays(item, number)
            counts = {name: self._samples_in(name, array, number) for name, array in arrays.items()}
            if len(set(counts.values())) > 1:
                words = ", ".join(f"`{name}` has {count or 'one'}" for name, count in counts.items())
                raise error(
                    "AM443", f"item with sample {number}: the inputs differ in their number of samples: {words}"
                )
            count = next(iter(counts.values()))
            for row in range(1 if count is None else count):
                if number >= start:
                    yield {name: to_floats(a if count is None else a[row]) for name, a in arrays.items()}
                number += 1
                # Asked before the next item is taken, so that an iterator is not read past `stop`.
                if stop is not None and number >= stop:
                    return

    def _fresh(self) -> Iterator[Any]:
        iterator = iter(self.items)
        if iterator is self.items:
            if self.spent:
                raise error(
                    "AM446",
                    "the data come from an iterator, which can be read only once, and it has been read",
                    help="give a list, or an object whose `__iter__` starts anew",
                )
            self.spent = True
        return iterator

    def _arrays(self, item: Any, number: int) -> dict[str, NDArray[Any]]:
        if isinstance(item, Mapping):
            present = tuple(str(key) for key in item)
            for name in self.shapes:
                if name not in item:
                    help = f"sample {number}: give one array for each input"
                    raise missing_input(name, present, None, help)
            arrays = {name: np.asarray(item[name]) for name in self.shapes}
        elif len(self.shapes) == 1:
            arrays = {next(iter(self.shapes)): np.asarray(item)}
        else:
            names = ", ".join(f"`{name}`" for name in self.shapes)
            raise error("AM400", f"sample {number} is a single array, the model has the inputs {names}",
                        help="give a dict by input name")  # fmt: skip
        for name, array in arrays.items():
            check_type(array, f"sample {number} of input `{name}`")
        return arrays

    def _samples_in(self, name: str, array: NDArray[Any], number: int) -> int | None:
        """How many samples an item holds, or None for a sample that has no batch axis."""
        shape = self.shapes[name]
        batched = shape.sides is not None and array.ndim == len(shape.sides) + 1
        shape.check(array.shape[1:] if batched else array.shape, f"sample {number} has")
        return array.shape[0] if batched else None

    def _check_alike(self, number: int, name: str, first: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if first != shape:
            message = f"sample {number} of input `{name}` is {shape_text(shape)}, those before it {shape_text(first)}"
            raise error("AM402", message)

    def _count(self, items: list[Any] | tuple[Any, ...]) -> int:
        count = 0
        for item in items:
            name, array = next(iter(self._arrays(item, count).items()))
            found = self._samples_in(name, array, count)
            count += 1 if found is None else found
        return count


def unknown_count() -> DiagnosticError:
    """AM446: the number of samples is asked of data that cannot tell it."""
    return error(
        "AM446",
        "the number of samples is not known before the data have been read",
        help="give a list, an array or a file",
    )
