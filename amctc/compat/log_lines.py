"""Lines of a log as AMCT writes them, `TIME - LEVEL - [AMCT]:[PART]: TEXT`, on the screen and in a file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

EVENT: Final = logging.ERROR + 5
"""What is told at every level: the beginning and the end."""

_LONGEST_LINE: Final = 500
"""The original cuts messages into pieces of so many characters."""


class Lines(logging.Formatter):
    """The form of a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s - %(levelname)s - [AMCT]:%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        if record.levelno == EVENT:
            record.levelname = "EVENT"
        return super().format(record)


class Screen(logging.Handler):
    """Writes to whatever stderr is at the moment, as scripts and tests exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO = sys.stderr
        stream.write(self.format(record) + "\n")
        stream.flush()


class LogFile(logging.Handler):
    """Appends to a file of a logger, whose folder is made with the first line; several processes may write one file."""

    def __init__(self, path: Path, owner: logging.Logger) -> None:
        super().__init__()
        self.path = path
        self._owner = owner

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            with open(handle, "a", encoding="utf-8") as file:
                file.write(self.format(record) + "\n")
        except OSError as failure:  # a folder that cannot be written must not stop the work itself
            self.acquire()
            try:
                self._owner.removeHandler(self)
            finally:
                self.release()
            reason = (failure.strerror or "unwritable").lower()
            self._owner.warning("[AMCT]: the log `%s` cannot be written: %s", self.path, reason)

    def begin_anew(self) -> None:
        """Empty the file, if it is there."""
        if self.path.is_file():
            os.truncate(self.path, 0)


def write(log: logging.Logger, level: int, part: str, text: str) -> None:
    """A message of a part of the program, in as many lines as it takes."""
    for piece in _pieces(text):
        log.log(level, "[%s]: %s", part, piece)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _LONGEST_LINE):
        yield text[start : start + _LONGEST_LINE].strip()
