"""Reading text files from others: bounded in size, UTF-8, with plain words for what is wrong."""

from __future__ import annotations

from pathlib import Path

from amctc.diagnostics import error
from amctc.source import SourceFile

MAX_TEXT_BYTES = 64 * 1024 * 1024


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
