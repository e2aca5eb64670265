"""The log of one of AMCT's interfaces: lines on stderr and in a file of the folder `amct_log`.

`AMCT_LOG_LEVEL` says what is shown, `AMCT_LOG_FILE_LEVEL` what the file gets: DEBUG, INFO (the default), WARNING
or ERROR, in capitals or not. A line is `TIME - LEVEL - [AMCT]:[PART]: TEXT`, as in the original.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from amctc.compat.log_lines import Lines, LogFile, Screen, write
from amctc.diagnostics import Diagnostic, Level, render

LOG_FOLDER: Final = "amct_log"
SCREEN_VARIABLE: Final = "AMCT_LOG_LEVEL"
FILE_VARIABLE: Final = "AMCT_LOG_FILE_LEVEL"

LEVELS: Mapping[str, int] = MappingProxyType(
    {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
)


@dataclass(frozen=True)
class InterfaceLog:
    """The log of the interface that is called `name` among Python's loggers and writes to `amct_log/{file}`."""

    name: str
    file: str

    def logger(self) -> logging.Logger:
        """The logger, set up by the environment when it is first asked for.

        The file lies in the folder that is the current one then.
        """
        log = logging.getLogger(self.name)
        if any(isinstance(handler, Screen) for handler in log.handlers):
            return log
        log.setLevel(logging.DEBUG)
        log.propagate = False
        wrong: list[str] = []
        handlers: tuple[tuple[logging.Handler, str], ...] = (
            (Screen(), SCREEN_VARIABLE),
            (LogFile(Path.cwd() / LOG_FOLDER / self.file, log), FILE_VARIABLE),
        )
        for handler, variable in handlers:
            handler.setLevel(_level(variable, wrong))
            handler.setFormatter(Lines())
            log.addHandler(handler)
        for line in wrong:
            log.warning("[AMCT]: %s", line)
        return log

    def start(self) -> None:
        """Begin the file anew, as the original does at each start; once in the life of a log."""
        for handler in self.logger().handlers:
            if isinstance(handler, LogFile) and not getattr(handler, "started", False):
                vars(handler)["started"] = True
                handler.begin_anew()

    def close(self) -> None:
        """Forget the log, so that the next line reads the environment and the current folder again."""
        log = logging.getLogger(self.name)
        for handler in tuple(log.handlers):
            if isinstance(handler, Screen | LogFile):
                log.removeHandler(handler)
                handler.close()

    def debug(self, part: str, text: str) -> None:
        """What happens to a single layer."""
        write(self.logger(), logging.DEBUG, part, text)

    def info(self, part: str, text: str) -> None:
        """A stage that begins or is done."""
        write(self.logger(), logging.INFO, part, text)

    def warning(self, part: str, text: str) -> None:
        write(self.logger(), logging.WARNING, part, text)

    def error(self, part: str, text: str) -> None:
        write(self.logger(), logging.ERROR, part, text)

    def tell(self, part: str, diagnostics: Iterable[Diagnostic]) -> None:
        """Diagnostics, each at its own level."""
        for found in diagnostics:
            (self.error if found.level is Level.ERROR else self.warning)(part, render(found))


def _level(variable: str, wrong: list[str]) -> int:
    said = os.environ.get(variable, "INFO")
    level = LEVELS.get(said.strip().upper())
    if level is None:
        wrong.append(f"{variable} is `{said[:40]}`, which is none of {', '.join(LEVELS)}; INFO is taken")
        return logging.INFO
    return level
