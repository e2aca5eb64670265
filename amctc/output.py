"""Writing a set of files so that either all of them are new or all are what they were."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from amctc.diagnostics import error


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write every file under a temporary name beside its own, then rename them all.

    Folders that are missing are made. Raises `DiagnosticError` (AM700) when something cannot be
    written; no file that was there before has changed then.
    """
    written: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(21, "is a directory")
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            written.append((Path(name), path))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in written:
            temporary.chmod(_mode(path))
            temporary.replace(path)
    except OSError as failure:
        reason = (failure.strerror or "unwritable").lower()
        raise error("AM700", f"cannot write this file: {reason}", file=str(path)) from None
    finally:
        for temporary, _ in written:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, so that a private one stays private; else the usual ones."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0o644


def name_prefix(prefix: str | Path) -> str:
    """What the names of files begin with, without their folder: `PREFIX_`, or nothing where it is a folder."""
    return "" if _is_folder(str(prefix)) else f"{Path(prefix).name}_"


def output_paths(prefix: str | Path, endings: Mapping[str, bytes]) -> dict[Path, bytes]:
    """Whole paths: `PREFIX_ending`, or `ending` alone in the folder when the prefix ends in a slash."""
    folder = Path(prefix) if _is_folder(str(prefix)) else Path(prefix).parent
    return {folder / f"{name_prefix(prefix)}{ending}": data for ending, data in endings.items()}


def _is_folder(prefix: str) -> bool:
    # Path.is_dir would raise for a name that is too long; write_files tells that better.
    return prefix.endswith(("/", os.sep)) or os.path.isdir(prefix)


def check_writable(folder: Path) -> None:
    """Make a folder where there is none, and see whether files can be written into it; `DiagnosticError` (AM700)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as failure:
        reason = (failure.strerror or "unwritable").lower()
        raise error("AM700", f"files cannot be written into this folder: {reason}", file=str(folder)) from None
