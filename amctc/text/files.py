"""Reading files from others: bounded in size, with plain words for what is wrong."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from amctc.diagnostics import DiagnosticError, error
from amctc.source import SourceFile

MAX_TEXT_BYTES = 64 * 1024 * 1024
MAX_MAPPED_BYTES = 2**31 - 1
"""Protobuf's own limit for one message."""


def read_text(path: str | Path, max_bytes: int = MAX_TEXT_BYTES) -> SourceFile:
    """The text of a UTF-8 file (a byte order mark is dropped), named as the user named it.

    Raises `DiagnosticError`: AM100 if it cannot be opened, AM102 if it is larger than `max_bytes`
    bytes, AM105 if it is not UTF-8.
    """
    data = read_bytes(path, max_bytes)
    name = str(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(
            "AM105",
            f"`{name}` is not UTF-8 text: byte 0x{data[problem.start]:02x} on line {line}",
            file=name,
            help="save the file as UTF-8, or give the text form of it if this is a binary file",
        ) from None
    return SourceFile(name, text)


def read_bytes(path: str | Path, max_bytes: int) -> bytes:
    """The content of a file; raises as `read_text` does, but for the decoding."""
    name = str(path)
    try:
        with open(path, "rb") as file:
            # One byte more than allowed tells a file that is too large without reading all of it.
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise error("AM100", f"there is no file `{name}`", file=name) from None
    except IsADirectoryError:
        raise error("AM100", f"`{name}` is a folder, not a file", file=name) from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error("AM100", f"`{name}` cannot be read: {reason.lower()}", file=name) from None
    if len(data) > max_bytes:
        raise error("AM102", f"`{name}` is larger than the {max_bytes} bytes that are read", file=name)
    return data


def map_file(path: str | Path) -> memoryview:
    """The bytes of a binary protobuf file, without reading them. Raises `DiagnosticError` (AM310)."""
    try:
        # Looked at before it is opened: opening a pipe would wait for somebody to write.
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise error("AM310", "this is not a regular file", file=str(path))
        if about.st_size > MAX_MAPPED_BYTES:
            raise error("AM310", "the file is larger than 2 GiB, which protobuf cannot hold", file=str(path))
        if about.st_size == 0:
            return memoryview(b"")
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as failure:
        raise _unreadable(path, failure) from None


def _unreadable(path: str | Path, failure: OSError | ValueError) -> DiagnosticError:
    reason = getattr(failure, "strerror", None) or "unreadable"
    return error("AM310", f"cannot read this file: {reason.lower()}", file=str(path))
