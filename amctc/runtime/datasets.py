"""Calibration and evaluation data: opened from whatever a user has, read batch by batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.data_files import open_path
from amctc.runtime.image_source import ImageSource
from amctc.runtime.iterables import IterableSource
from amctc.runtime.samples import Batch, SampleShape, check_type, missing_input, sample_rows
from amctc.runtime.sampling import check_sampling, chosen_numbers
from amctc.runtime.sources import ArraySource, Source

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess

Data = str | PathLike[str] | NDArray[Any] | Mapping[str, Any] | Iterable[Any]


@dataclass(frozen=True)
class Dataset:
    """Samples for the inputs of a model, or a slice of them; nothing is decoded before it is asked for.

    `start` and `stop` bound the slice in samples of `source`; `stop` None is its end. If `sample` has chosen some,
    `chosen` are the numbers of the source's samples among `total`; `limited` says that it has bounded them.
    """

    source: Source
    start: int = 0
    stop: int | None = None
    chosen: tuple[int, ...] | None = None
    total: int | None = None
    limited: bool = False

    @staticmethod
    def open(
        data: Data,
        *,
        inputs: Mapping[str, tuple[int, ...]],
        preprocess: Preprocess | None = None,
        free_shape: bool = False,
        dtypes: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Data for the inputs of a model.

        `data` is a path (`.npz`, `.npy`, `.bin`, an image, a folder, a glob, or a comma-separated list
        of `.bin` files), an array or a mapping of arrays whose first axis is samples, or an iterable
        of samples or batches. `inputs` maps each input blob to its declared shape, batch axis
        included: the batch axis need not match, sides of 0 or less are free, and `()` says that the
        shape is not known. Where their first sides differ, one sample is what they declare, and an item
        of an iterable is a batch. `free_shape` frees all sides and keeps only the rank. `dtypes` has the element
        types of inputs that are not float32.

        Raises `DiagnosticError`: AM400 an input is missing, AM402 a shape, AM440 nothing found,
        AM441 an unreadable file, AM442 a type, AM443 inputs of different length, AM445 Pillow is
        missing, AM447 a preprocessing step that does not fit the data, AM310 to AM312 a mean image.
        """
        if preprocess is not None:
            preprocess = preprocess.opened()
        if not inputs:
            raise error("AM400", "the model has no inputs to give data to")
        rows = sample_rows(inputs)
        types = dtypes or {}
        shapes = {
            name: SampleShape.of_input(name, sides, free_shape, rows[name], types.get(name, "float32"))
            for name, sides in inputs.items()
        }
        if isinstance(data, str | PathLike):
            return Dataset(open_path(str(data), shapes, preprocess))
        if preprocess is not None:
            preprocess.check_arrays()
        if isinstance(data, np.ndarray):
            data = _named(data, shapes)
        if isinstance(data, Mapping):
            return Dataset(_array_source(data, shapes, preprocess))
        # Asked like this, because an object that is a sequence by `__getitem__` alone is iterable too.
        if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
            message = f"data of the type `{type(data).__name__}` are neither a path, an array nor an iterable"
            raise error("AM440", message)
        return Dataset(IterableSource(data, shapes, preprocess))

    @property
    def count(self) -> int | None:
        """Number of samples, or None where only reading to the end would tell."""
        total = self.source.count
        if total is None:
            return None
        stop = total if self.stop is None else min(self.stop, total)
        return max(0, stop - self.start)

    def __len__(self) -> int:
        """Number of samples. Raises `DiagnosticError` (AM446) where it is not known; see `count`."""
        if self.count is None:
            raise error(
                "AM446",
                "the number of samples is not known before the data have been read",
                help="give a list, an array or a file",
            )
        return self.count

    def __bool__(self) -> bool:
        return True

    @property
    def once(self) -> bool:
        """Whether the samples can be gone through only once."""
        return isinstance(self.source, IterableSource) and iter(self.source.items) is self.source.items

    @property
    def path(self) -> Path | None:
        """The `.npz` or `.npy` file the samples are from, if it is one."""
        return self.source.path if isinstance(self.source, ArraySource) else None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The paths of the image files, in order; None for data that are not images."""
        if not isinstance(self.source, ImageSource):
            return None
        return tuple(path.as_posix() for path in self.source.paths[self.start : self.stop])

    def select(self, start: int, stop: int | None = None) -> Dataset:
        """The samples from `start` up to `stop` (excluded) of this view; reads nothing.

        Both count from 0; a bound past the end is the end, as in a slice of a list.
        """
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"a selection starts and stops at 0 or more, not at {start} and {stop}")
        bounds = [bound for bound in (self.stop, None if stop is None else self.start + stop) if bound is not None]
        return replace(self, start=self.start + start, stop=min(bounds, default=None))

    def sample(self, count: int, seed: int | None = None) -> Dataset:
        """At most `count` samples of this view: the first, or with a `seed` a random choice, in the order of the data.

        A choice depends on the seed, `count` and the number of samples alone, and one of more samples by the same
        seed has all of it (see `chosen_numbers`). Raises `DiagnosticError`: AM456 where `count` is below 1 or the
        seed below 0, AM446 for a random choice of data whose number of samples is not known.
        """
        check_sampling(count, seed)
        if seed is None:
            return replace(self.select(0, count), limited=True)
        if self.count is None:
            message = "a random choice of samples needs their number, which is not known before the data have been read"
            raise error("AM446", message, help="leave the seed out, or give a list, an array or a file")
        numbers = tuple(self.start + number for number in chosen_numbers(self.count, count, seed))
        whole = numbers if self.chosen is None else tuple(self.chosen[number] for number in numbers)
        total = self.source.count if self.chosen is None else self.total
        return Dataset(self.source.pick(numbers), chosen=whole, total=total, limited=True)

    def batches(self, batch_size: int, limit: int | None = None, *, exact: bool = False) -> Generator[Batch]:
        """Batches that map each input to numbers [samples, …], see `Batch`; the arrays belong to the caller.

        At most `limit` batches are given. The last may be shorter, unless `exact`: then a shorter one
        is left out, and fewer than `limit` batches are an error (AM403). Only one batch is held.

        Raises `DiagnosticError` while reading: AM402 a shape, AM404 NaN or Inf, AM444 an unreadable
        image, AM446 an iterator that has been read, AM447 a preprocessing step that does not fit,
        AM448 a batch size under 1.
        """
        if batch_size < 1:
            raise error(
                "AM448",
                f"the batch size must be at least 1, not {batch_size}",
                help="say one with `--batch-size`",
            )
        stop = self.stop
        if limit is not None:
            last = self.start + limit * batch_size
            stop = last if stop is None else min(stop, last)
        return self._read(batch_size, stop, limit if exact else None, exact)

    def _read(self, size: int, stop: int | None, wanted: int | None, exact: bool) -> Generator[Batch]:
        full, samples = 0, 0
        for batch in self.source.batches(self.start, stop, size):
            length = self.source.samples_in(batch)
            samples += length
            if exact and length < size:
                break
            full += 1
            yield batch
        if wanted is not None and full < wanted:
            raise _too_few(samples, size, wanted, self.limited)


def require_batches(dataset: Dataset, batch_size: int, batch_num: int) -> None:
    """Refuse (`DiagnosticError`, AM403) data with fewer than `batch_num` whole batches.

    Data of unknown length pass, unless they are bounded to fewer; reading them with
    `batches(…, limit=batch_num, exact=True)` tells.
    """
    bound = dataset.stop - dataset.start if dataset.stop is not None else None
    known = dataset.count if dataset.count is not None else bound
    if known is not None and known < batch_size * batch_num:
        raise _too_few(known, batch_size, batch_num, dataset.limited)


def _too_few(samples: int, size: int, batches: int, limited: bool) -> DiagnosticError:
    batch_words = f"{batches} batch{'es' if batches != 1 else ''} of {size} sample{'s' if size != 1 else ''}"
    sample_words = f"{samples} sample{'s' if samples != 1 else ''}"
    held = f"`--max-samples` leaves {sample_words}" if limited else f"the data holds only {sample_words}"
    give = "keep" if limited else "give"
    return error(
        "AM403",
        f"the policy asks for {batch_words}, {held}",
        help=f"{give} at least {size * batches} samples, or lower `batch_num` or the batch size",
    )


def _named(data: NDArray[Any], shapes: Mapping[str, SampleShape]) -> dict[str, NDArray[Any]]:
    if len(shapes) > 1:
        names = ", ".join(f"`{name}`" for name in shapes)
        raise error("AM400", f"one array cannot feed the inputs {names}", help="give a dict by input name")
    return {next(iter(shapes)): data}


def _array_source(
    data: Mapping[str, Any], shapes: Mapping[str, SampleShape], preprocess: Preprocess | None
) -> ArraySource:
    arrays: dict[str, NDArray[Any]] = {}
    for name in shapes:
        if name not in data:
            raise missing_input(name, tuple(map(str, data)), None, "give one array for each input")
        arrays[name] = np.asarray(data[name])
        check_type(arrays[name], f"the array of input `{name}`")
    return ArraySource.open(arrays, shapes, preprocess)
