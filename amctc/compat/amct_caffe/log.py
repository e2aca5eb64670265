"""The log of AMCT's interface: lines on stderr and in `amct_log/amct_caffe.log`.

`AMCT_LOG_LEVEL` says what is shown, `AMCT_LOG_FILE_LEVEL` what the file gets: DEBUG, INFO (the default), WARNING
or ERROR, in capitals or not. A line is `TIME - LEVEL - [AMCT]:[PART]: TEXT`, as in the original.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TextIO

from amctc.diagnostics import Diagnostic, Level, render

LOG_FOLDER: Final = "amct_log"
LOG_FILE: Final = "amct_caffe.log"
SCREEN_VARIABLE: Final = "AMCT_LOG_LEVEL"
FILE_VARIABLE: Final = "AMCT_LOG_FILE_LEVEL"

LEVELS: Mapping[str, int] = MappingProxyType(
    {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
)

_NAME: Final = "amctc.compat.amct_caffe"
_LONGEST_LINE: Final = 500
"""The original cuts messages into pieces of so many characters."""


class _Screen(logging.Handler):
    """Writes to whatever stderr is at the moment, as scripts and tests exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO = sys.stderr
        stream.write(self.format(record) + "\n")
        stream.flush()


class _File(logging.Handler):
    """Appends to the log, whose folder is made with the first line; several processes may write one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            with open(handle, "a", encoding="utf-8") as file:
                file.write(self.format(record) + "\n")
        except OSError as failure:  # a folder that cannot be written must not stop the work itself
            self.acquire()
            try:
                logging.getLogger(_NAME).removeHandler(self)
            finally:
                self.release()
            reason = (failure.strerror or "unwritable").lower()
            logger().warning("[AMCT]: the log `%s` cannot be written: %s", self.path, reason)


def logger() -> logging.Logger:
    """The log, set up by the environment when it is first asked for.

    The file lies in the folder that is the current one then.
    """
    log = logging.getLogger(_NAME)
    if any(isinstance(handler, _Screen) for handler in log.handlers):
        return log
    log.setLevel(logging.DEBUG)
    log.propagate = False
    form = logging.Formatter("%(asctime)s - %(levelname)s - [AMCT]:%(message)s")
    wrong: list[str] = []
    handlers: tuple[tuple[logging.Handler, str], ...] = (
        (_Screen(), SCREEN_VARIABLE),
        (_File(Path.cwd() / LOG_FOLDER / LOG_FILE), FILE_VARIABLE),
    )
    for handler, variable in handlers:
        handler.setLevel(_level(variable, wrong))
        handler.setFormatter(form)
        log.addHandler(handler)
    for line in wrong:
        log.warning("[AMCT]: %s", line)
    return log


def start_log() -> None:
    """Begin the file anew, as the original does at each start; once in the life of a log."""
    for handler in logger().handlers:
        if isinstance(handler, _File) and not getattr(handler, "started", False):
            vars(handler)["started"] = True
            if handler.path.is_file():
                os.truncate(handler.path, 0)


def close_log() -> None:
    """Forget the log, so that the next line reads the environment and the current folder again."""
    log = logging.getLogger(_NAME)
    for handler in tuple(log.handlers):
        if isinstance(handler, _Screen | _File):
            log.removeHandler(handler)
            handler.close()


def debug(part: str, text: str) -> None:
    """What happens to a single layer."""
    _write(logging.DEBUG, part, text)


def info(part: str, text: str) -> None:
    """A stage that begins or is done."""
    _write(logging.INFO, part, text)


def warning(part: str, text: str) -> None:
    _write(logging.WARNING, part, text)


def error(part: str, text: str) -> None:
    _write(logging.ERROR, part, text)


def tell(part: str, diagnostics: Iterable[Diagnostic]) -> None:
    """Diagnostics, each at its own level."""
    for found in diagnostics:
        (error if found.level is Level.ERROR else warning)(part, render(found))


def shows_layers() -> bool:
    """Whether anybody will read what `debug` writes."""
    return any(handler.level <= logging.DEBUG for handler in logger().handlers)


def _write(level: int, part: str, text: str) -> None:
    for piece in _pieces(text):
        logger().log(level, "[%s]: %s", part, piece)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _LONGEST_LINE):
        yield text[start : start + _LONGEST_LINE].strip()


def _level(variable: str, wrong: list[str]) -> int:
    said = os.environ.get(variable, "INFO")
    level = LEVELS.get(said.strip().upper())
    if level is None:
        wrong.append(f"{variable} is `{said[:40]}`, which is none of {', '.join(LEVELS)}; INFO is taken")
        return logging.INFO
    return level
