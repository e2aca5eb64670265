"""The calibration data of a GE graph: `.bin` files of whole batches, a file or more for each input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from amctc.aipp.apply import apply_aipp
from amctc.diagnostics import error
from amctc.driver.ge.inputs import AippInput, GeInput
from amctc.driver.ge.texts import Entry
from amctc.runtime.data_files import expand
from amctc.runtime.datasets import Dataset
from amctc.runtime.samples import Batch, SampleShape, check_finite
from amctc.runtime.sources import BinSource, JoinedSource, Source

_BIN: Final = ".bin"


@dataclass(frozen=True)
class AippSource:
    """Images of bytes, each made a sample of the network's input by AIPP."""

    files: BinSource
    aipp: AippInput

    @property
    def count(self) -> int:
        return self.files.count

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        first = start
        for batch in self.files.batches(start, stop, size):
            for name, images in batch.items():
                made = apply_aipp(self.aipp.config, images.astype(np.uint8), self.aipp.network)
                check_finite(made, name, self.files.numbers[first : first + len(made)], self.files.place)
                yield {name: made}
            first += size

    def pick(self, numbers: Sequence[int]) -> AippSource:
        return replace(self, files=self.files.pick(numbers))

    def samples_in(self, batch: Batch) -> int:
        return self.files.samples_in(batch)


def open_batches(inputs: Sequence[GeInput], data: Sequence[Entry]) -> Dataset:
    """The data set whose samples are whole batches, of every input as many as its shape says.

    An entry of `data` is a file of raw little-endian numbers without a header, or a folder or glob of such; of a folder
    those that end in `.bin`. One input takes all entries, several take one each, in their order. Raises
    `DiagnosticError`: AM400 for another number of entries, AM440 and AM441 for files, AM402 where one does not hold
    whole samples, AM450 where there are no whole batches, AM443 where inputs differ in their batches.
    """
    if len(inputs) > 1 and len(data) != len(inputs):
        names = ", ".join(f"`{each.name}`" for each in inputs)
        message = f"INPUT_DATA_DIR has {len(data)} {'entry' if len(data) == 1 else 'entries'} for the inputs {names}"
        raise error("AM400", message, help="give a file or a folder for each, in this order, with commas between them")
    groups = [data] if len(inputs) == 1 else [[entry] for entry in data]
    parts = [_part(each, group) for each, group in zip(inputs, groups, strict=True)]
    counts = {each.name: _whole_batches(each, part) for each, part in zip(inputs, parts, strict=True)}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
        raise error("AM443", f"the inputs differ in their number of batches: {words}")
    return Dataset(JoinedSource(tuple(parts), tuple(each.shape[0] for each in inputs), next(iter(counts.values()))))


def _part(each: GeInput, entries: Sequence[Entry]) -> Source:
    paths = tuple(path for entry in entries for path in _files(entry))
    if each.aipp is not None:
        shape = SampleShape(each.name, (each.aipp.source.bytes,), stored=each.stored)
        return AippSource(BinSource.open(paths, shape, None), each.aipp)
    # An input of no more than a batch axis has samples of one number.
    shape = SampleShape(each.name, each.shape[1:], dtype=each.dtype, stored=each.stored)
    return BinSource.open(paths, shape, None)


def _files(entry: Entry) -> tuple[Path, ...]:
    paths = expand(entry.text)
    if not Path(entry.text).is_dir():
        return paths
    raw = tuple(path for path in paths if path.suffix.lower() == _BIN)
    if not raw:
        message = f"the folder `{entry.text}` has no .bin files"
        raise error("AM440", message, entry.span, help="give the files themselves if their names end otherwise")
    return raw


def _whole_batches(each: GeInput, part: Source) -> int:
    """Raises `DiagnosticError` (AM450) where the files of an input end within a batch, or before the first ends."""
    samples, batch = part.count or 0, each.shape[0]
    if not samples % batch:
        return samples // batch
    held = f"{samples} sample{'' if samples == 1 else 's'}"
    whole = "no whole batch" if samples < batch else f"{samples // batch} whole batches and {samples % batch} more"
    message = f"the data of the input `{each.name}` hold {held}, of which {batch} are a batch: {whole}"
    raise error("AM450", message, help=f"give a multiple of {batch} samples, or another batch in INPUT_SHAPE")
