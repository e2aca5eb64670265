"""What tells calibration data from others, and whether another process can read them itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from amctc.runtime.datasets import Dataset
from amctc.runtime.image_source import ImageSource
from amctc.runtime.preprocess import Preprocess
from amctc.runtime.preprocess_steps import MeanImage
from amctc.runtime.sources import ArraySource, BinSource, JoinedSource, Source
from amctc.runtime.stored_arrays import StoredArray

SENT: Final = 1 << 26
"""Arrays in memory of up to so many bytes are sent to each worker; of larger ones each gets what its shards need."""


def is_portable(source: Source) -> bool:
    """Whether a source is little more than the names of files, so that a copy of it works in another process."""
    if isinstance(source, JoinedSource):
        return all(map(is_portable, source.parts))
    if isinstance(source, ArraySource):
        return sum(array.nbytes for array in source.arrays.values() if isinstance(array, np.ndarray)) <= SENT
    return isinstance(source, ImageSource | BinSource)


def data_identity(dataset: Dataset) -> str | None:
    """A SHA-256 in hexadecimal of the samples of a data set and their order; None for an iterable, which has none.

    Files count by their path, size and time of change, arrays in memory by what they hold; with them goes the
    preprocessing, and which samples are taken. Raises `OSError` for a file that is gone.
    """
    pieces = _identify(dataset.source)
    if pieces is None:
        return None
    digest = hashlib.sha256(repr((dataset.start, dataset.stop)).encode())
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()


def _identify(source: Source) -> Iterable[bytes | memoryview] | None:
    if isinstance(source, ImageSource):
        return _files(source.paths, source.preprocess, None)
    if isinstance(source, BinSource):
        return _files([path for path, _ in source.files], source.preprocess, source.picked, source.shape.stored)
    if isinstance(source, ArraySource):
        return _arrays(source)
    if isinstance(source, JoinedSource):
        parts = [_identify(part) for part in source.parts]
        known = [part for part in parts if part is not None]
        return (piece for part in known for piece in part) if len(known) == len(parts) else None
    return None


def _files(paths: Iterable[Path], preprocess: Preprocess | None, *more: object) -> Iterator[bytes]:
    yield repr(more).encode()
    yield from _steps(preprocess)
    for path in paths:
        yield _file(path)


def _arrays(source: ArraySource) -> Iterator[bytes | memoryview]:
    yield repr((sorted(source.rows.items()), source.picked)).encode()
    yield from _steps(source.preprocess)
    if source.path is not None:
        yield _file(source.path)
        return
    for name, array in sorted(source.arrays.items()):
        yield repr((name, array.shape, array.dtype.str)).encode()
        if isinstance(array, StoredArray):
            yield _file(array.path)
        else:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _file(path: Path) -> bytes:
    found = path.stat()
    return repr((path.as_posix(), found.st_size, found.st_mtime_ns)).encode()


def _steps(preprocess: Preprocess | None) -> Iterator[bytes]:
    yield str(preprocess).encode()
    for step in preprocess.steps if preprocess is not None else ():
        if isinstance(step, MeanImage) and step.image is not None:
            yield step.image.tobytes()
