"""Arrays in `.npy` and `.npz` files that are read row by row, so that any number of them takes the memory of a batch.

Numbers are read, not mapped: pages of a mapped file count as memory of the process once they are touched, and a file
that becomes shorter meanwhile would kill it.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, RawIOBase
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.runtime.arrays import (
    UNPACKING_ERRORS,
    check_packing,
    damaged,
    entries_of,
    open_npy,
    open_zip,
    read_entry,
    read_header,
)

WHOLE: Final = 1 << 22
"""Members of an `.npz` of up to so many bytes are read at once, which also compares their checksum."""

_BLOCK: Final = 1 << 18
"""Bytes that are unpacked at a time where rows are passed over."""

_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
"""The header before the bytes of a zip's member: its signature, the lengths of the name and of the extra field."""


@dataclass(frozen=True)
class StoredArray:
    """An array in C order whose rows lie in a file from `offset` on, or in an unpacked member of a zip file.

    `member` is the name of the array in an `.npz`; `packed` says that `offset` counts in the unpacked member.
    `checksums` are those of what comes before the numbers, and of that and the numbers; None where there are none, or
    unpacking compares them.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    member: str | None = None
    packed: bool = False
    checksums: tuple[int, int] | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @contextmanager
    def opened(self) -> Generator[RowReader]:
        """A reader of rows, which holds the file open. Raises `DiagnosticError` (AM441)."""
        if not self.packed:
            try:
                file = self.path.open("rb", buffering=0)
            except OSError as problem:
                raise damaged(self.path, problem) from None
            with file:
                yield RowReader(self, file)
            return
        with open_zip(self.path) as archive:
            try:
                unpacked = cast(BufferedIOBase, archive.open(entries_of(archive)[self.member or ""]))  # a ZipExtFile
            except (*UNPACKING_ERRORS, KeyError) as problem:
                raise damaged(self.path, problem) from None
            with unpacked:
                yield RowReader(self, unpacked)


class RowReader:
    """Reads rows of one array; going forward is cheap, going back in a packed member starts it again."""

    def __init__(self, array: StoredArray, file: RawIOBase | BufferedIOBase) -> None:
        self._array = array
        self._file = file
        self._row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
        self._summed = 0
        """So many rows from the first on are in the checksum."""
        self._checksum = array.checksums[0] if array.checksums is not None else 0

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows `start` up to `stop` (excluded), in an array of their own.

        Raises `DiagnosticError` (AM441), which names them, where they cannot be read.
        """
        array = self._array
        found = np.empty((stop - start, *array.shape[1:]), array.dtype)
        content = found.reshape(-1).view(np.uint8).data
        try:
            self._go_to(array.offset + start * self._row_bytes)
            if not self._fill(content):
                message = f"`{array.path}` became shorter while it was read"
                raise error("AM441", message, file=str(array.path), help=f"{self._words(start, stop)} cannot be read")
            self._compare(start, stop, content)
        except UNPACKING_ERRORS as problem:
            raise damaged(array.path, problem, f"{self._words(start, stop)}: ") from None
        return found

    def _words(self, start: int, stop: int) -> str:
        which = f"row {start}" if stop - start == 1 else f"rows {start} to {stop - 1}"
        return which if self._array.member is None else f"{which} of the array `{self._array.member}`"

    def _go_to(self, place: int) -> None:
        if not self._array.packed or place < self._file.tell():
            self._file.seek(0 if self._array.packed else place)
        while self._array.packed and (left := place - self._file.tell()):
            if not self._file.read(min(left, _BLOCK)):
                raise EOFError("it ends before them")

    def _fill(self, content: memoryview) -> bool:
        """Whether there was enough to fill it."""
        filled = 0
        while filled < len(content):
            more = self._file.readinto(content[filled : filled + _BLOCK])
            if not more:
                return False
            filled += more
        return True

    def _compare(self, start: int, stop: int, content: memoryview) -> None:
        """Compare the checksum with the last row, if all rows have come in their order."""
        if self._array.checksums is None or start != self._summed:
            return
        self._checksum = zlib.crc32(content, self._checksum)
        self._summed = stop
        if stop == len(self._array) and self._checksum != self._array.checksums[1]:
            raise ValueError("the checksum of the array differs, so that it is damaged there or before")


def stored_npy(path: Path) -> StoredArray | NDArray[Any]:
    """The array of a `.npy` file, to be read by rows; mapped where these do not lie side by side (Fortran order).

    Raises `DiagnosticError`: AM441 for a damaged file, AM442 for one that does not hold numbers.
    """
    try:
        with path.open("rb") as file:
            bytes = path.stat().st_size
            shape, fortran, dtype = read_header(file, bytes, f"`{path}`", path)
            found = StoredArray(path, shape, dtype, file.tell())
    except (OSError, ValueError, EOFError, MemoryError) as problem:
        raise damaged(path, problem) from None
    if fortran or not shape:
        return open_npy(path)
    if _end(found) > bytes:
        raise damaged(path, ValueError(f"it has the shape {shape} but only {bytes} bytes"))
    return found


def stored_npz(path: Path, names: Iterable[str]) -> dict[str, StoredArray | NDArray[Any]]:
    """The named arrays of an `.npz` file, which must have them; the others are not looked at.

    Small ones (see `WHOLE`) are in memory, large ones are to be read by rows; one in Fortran order is mapped, or read
    at once if it is packed. Raises `DiagnosticError`: AM441 for a damaged file, AM442 for an array that does not hold
    numbers.
    """
    arrays: dict[str, StoredArray | NDArray[Any]] = {}
    with open_zip(path) as archive:
        entries = entries_of(archive)
        for name in names:
            try:
                arrays[name] = _stored_member(archive, entries[name], name, path)
            except UNPACKING_ERRORS as problem:
                raise damaged(path, problem) from None
    return arrays


def _stored_member(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, path: Path
) -> StoredArray | NDArray[Any]:
    check_packing(entry, name, path)
    if entry.file_size <= WHOLE:
        return read_entry(archive, entry, name, path)
    packed = entry.compress_type != zipfile.ZIP_STORED
    # Opening it refuses a member that is encrypted, or that the zip's two headers call by different names.
    with archive.open(entry) as file:
        shape, fortran, dtype = read_header(file, entry.file_size, f"`{name}`", path)
        offset = file.tell()
    found = StoredArray(path, shape, dtype, offset, name, packed)
    if _end(found) > entry.file_size:
        raise ValueError(f"`{name}` has the shape {shape} but only {entry.file_size} bytes")
    if not shape or (fortran and packed):
        return read_entry(archive, entry, name, path)
    if packed:
        return found
    start = _start_of(entry, path)
    if fortran:
        return np.memmap(path, dtype, "r", start + offset, shape, "F")
    with path.open("rb") as file:
        file.seek(start)
        before = zlib.crc32(file.read(offset))
    checksums = (before, entry.CRC) if _end(found) == entry.file_size else None
    return StoredArray(path, shape, dtype, start + offset, name, checksums=checksums)


def _start_of(entry: zipfile.ZipInfo, path: Path) -> int:
    """Where the bytes of a member that is not packed begin in its file."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = file.tell() + int(name) + int(extra)
        end = file.seek(0, 2)
    if signature != b"PK\x03\x04" or entry.compress_size != entry.file_size or start + entry.file_size > end:
        raise ValueError("the zip's headers contradict each other")
    return start


def _end(array: StoredArray) -> int:
    return array.offset + array.dtype.itemsize * int(np.prod(array.shape, dtype=object))
