"""Reading `.npy` and `.npz` files of others: numbers only, nothing unpickled, sizes checked before memory is taken."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error

# Deflate cannot pack tighter than 1032:1; an entry that claims more lies about its size.
_MAX_PACKING = 1032
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
UNPACKING_ERRORS = (
    OSError, ValueError, EOFError, MemoryError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
)  # fmt: skip
"""What reading a damaged member of a zip file may raise."""

_NUMBERS = "biuf"
_KINDS = {"O": "Python objects", "c": "complex numbers", "U": "text", "S": "text", "V": "records"}


def number_type_error(dtype: np.dtype[Any], what: str, file: str | None) -> DiagnosticError | None:
    """AM442 for anything but booleans, integers and floats, which become float32; None for those."""
    if dtype.kind in _NUMBERS:
        return None
    kind = _KINDS.get(dtype.kind, str(dtype))
    return error("AM442", f"{what} holds {kind}, not numbers", file=file, help="save it as float32 or uint8")


def open_npy(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, mapped from disk: its pages are read when they are used.

    Raises `DiagnosticError`: AM441 for a damaged file, AM442 for one that does not hold numbers.
    """
    try:
        with path.open("rb") as file:
            read_header(file, path.stat().st_size, f"`{path}`", path)
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as problem:
        raise damaged(path, problem) from None
    return array


def npz_names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in an `.npz` file, in its order. Raises `DiagnosticError` (AM441)."""
    with open_zip(path) as archive:
        return tuple(entries_of(archive))


def read_npz(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The named arrays of an `.npz` file, which must have them; the others are not looked at.

    Raises `DiagnosticError`: AM441 for a damaged file, AM442 for an array that does not hold numbers.
    """
    arrays: dict[str, NDArray[Any]] = {}
    with open_zip(path) as archive:
        entries = entries_of(archive)
        for name in names:
            try:
                arrays[name] = read_entry(archive, entries[name], name, path)
            except UNPACKING_ERRORS as problem:
                raise damaged(path, problem) from None
    return arrays


def open_zip(path: Path) -> zipfile.ZipFile:
    """An `.npz` file. Raises `DiagnosticError` (AM441)."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as problem:
        raise damaged(path, problem) from None


def entries_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an `.npz` file that are arrays, by the arrays' names."""
    return {
        entry.filename.removesuffix(".npy"): entry for entry in archive.infolist() if entry.filename.endswith(".npy")
    }


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, path: Path) -> NDArray[Any]:
    """The array of one member, its checksum compared. Raises AM442 and any of `UNPACKING_ERRORS`."""
    check_packing(entry, name, path)
    with archive.open(entry) as file:
        read_header(file, entry.file_size, f"`{name}`", path)
    with archive.open(entry) as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def check_packing(entry: zipfile.ZipInfo, name: str, path: Path) -> None:
    """Raise `ValueError` for a member that claims more bytes than unpacking can give."""
    # The packed size too is only claimed, but it cannot be more than the file.
    packed = min(entry.compress_size, path.stat().st_size)
    if entry.file_size > packed * _MAX_PACKING:
        raise ValueError(f"the array `{name}` claims {entry.file_size} bytes, which cannot be")


def read_header(file: IO[bytes], size: int, what: str, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape of an array, whether its first axis runs fastest, and its element type.

    Refuse what is not numbers (AM442), and (`ValueError`) a shape that needs more than `size` bytes.
    Afterwards the file stands at the numbers.
    """
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version[0]}.{version[1]} of the npy format is not read")
    try:
        shape, fortran, dtype = _HEADERS[version](file)
    except (SyntaxError, tokenize.TokenError, TypeError, RecursionError) as damage:
        # NumPy reads a header as Python, so this is what a damaged one may raise beside ValueError.
        raise ValueError(f"{what} has a damaged header") from damage
    problem = number_type_error(dtype, what, str(path))
    if problem is not None:
        raise problem
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{what} has the shape {shape} but only {size} bytes")
    return shape, fortran, dtype


def damaged(path: Path, problem: Exception, where: str = "") -> DiagnosticError:
    """AM441 for a file that cannot be read, `where` being words for the part that cannot, such as `array x: `."""
    reason = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    reason = reason.split("\n", 1)[0].rstrip(".")
    return error("AM441", f"`{path}` cannot be read: {where}{reason[:1].lower()}{reason[1:]}", file=str(path))
