"""Where the files lie that a solver and its nets name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Locate: TypeAlias = Callable[[str], Path]
"""From a path as it is written to the file that is meant."""


def as_written(name: str) -> Path:
    """Relative paths are from the working directory on."""
    return Path(name)


def located(name: str, folder: Path) -> Path:
    """From the working directory on, as in Caffe; where nothing is there, from `folder` on, if something is there."""
    path = Path(name)
    if path.is_absolute() or _exists(path) or not _exists(folder / path):
        return path
    return folder / path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False
