"""What is left behind when amctc itself fails: a report to send in."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def write_report(failure: BaseException) -> Path:
    """Write the command, the versions and the traceback to a file, name it on stderr, and give its path.

    Where the failure has notes, such as the name of a reproducer, they are told too.
    """
    import onnxruntime

    lines = [
        "amctc failed. Please send this file to its makers.",
        "",
        f"command: {' '.join(sys.argv)}",
        f"amctc {version('amctc')}, Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, "
        f"{platform.platform()}",
        "",
        *traceback.format_exception(failure),
    ]
    path = _write(lines)
    notes = "".join(f"  {note}\n" for note in getattr(failure, "__notes__", ()))
    sys.stderr.write(f"error: amctc failed: {failure}\n  this is a bug of amctc; the report is in {path}\n{notes}")
    return path


def _write(lines: Sequence[str]) -> Path:
    """Into the working folder, or into that of temporary files when the former cannot be written."""
    try:
        handle, name = tempfile.mkstemp(".txt", "amctc-crash-", ".", text=True)
    except OSError:
        handle, name = tempfile.mkstemp(".txt", "amctc-crash-", text=True)
    with open(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    return Path(name)
