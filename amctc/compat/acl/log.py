"""The log of one call: lines on stderr and, where `AMCT_LOG_DUMP` asks for it, files in a folder of their own.

With `AMCT_LOG_DUMP` 1 the folder gets `amct_acl.log`, with 2 the record of factors too, with 3 also the graph at each
stage. It is `amct_log_TIME` in the current folder or, where `ASCEND_WORK_PATH` is set,
`$ASCEND_WORK_PATH/amct_acl/amct_log_PID_TIME`. The key LOG_LEVEL says what is shown and what the file gets.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from amctc.compat.log_lines import EVENT, Lines, LogFile, Screen, write
from amctc.diagnostics import Diagnostic, DiagnosticError, Level, render
from amctc.driver.ge.settings import USUAL_LEVEL, LogLevel
from amctc.output import write_files

DUMP_VARIABLE: Final = "AMCT_LOG_DUMP"
WORK_PATH_VARIABLE: Final = "ASCEND_WORK_PATH"
LOG_FILE: Final = "amct_acl.log"

LOG_ONLY, WITH_RECORD, WITH_GRAPHS = 1, 2, 3
"""What `AMCT_LOG_DUMP` may be."""

_LEVELS: Mapping[LogLevel, int] = MappingProxyType(
    {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
)


@dataclass(frozen=True)
class Dumping:
    """What is written beside the screen: nothing at `level` 0. `wrong` is what the variable says, if it is no level."""

    level: int = 0
    folder: Path = Path()
    wrong: str | None = None


def dumping(environment: Mapping[str, str]) -> Dumping:
    """What the environment asks for, in a folder named for now."""
    said = environment.get(DUMP_VARIABLE, "").strip()
    if said in ("", "0"):
        return Dumping()
    if said not in ("1", "2", "3"):
        return Dumping(wrong=said)
    now = time.strftime("%Y%m%d%H%M%S")
    place = environment.get(WORK_PATH_VARIABLE, "").strip()
    if place:
        return Dumping(int(said), Path(place) / "amct_acl" / f"amct_log_{os.getpid()}_{now}")
    return Dumping(int(said), Path.cwd() / f"amct_log_{now}")


class CallLog:
    """The log of one call."""

    def __init__(self, level: LogLevel = USUAL_LEVEL, dump: Dumping | None = None) -> None:
        self.dump = dump or Dumping()
        # Of its own: what one call writes must not depend on the call before.
        self.logger = logging.Logger("amctc.compat.acl")
        handlers: list[logging.Handler] = [Screen()]
        if self.dump.level:
            file = LogFile(self.dump.folder / LOG_FILE, self.logger)
            file.begin_anew()
            handlers.append(file)
        for handler in handlers:
            handler.setLevel(_LEVELS[level])
            handler.setFormatter(Lines())
            self.logger.addHandler(handler)
        if self.dump.wrong is not None:
            text = f"{DUMP_VARIABLE} is `{self.dump.wrong[:40]}`, which is none of 1, 2 and 3; no file is written"
            self.warning("AMCT", text)

    def event(self, part: str, text: str) -> None:
        write(self.logger, EVENT, part, text)

    def info(self, part: str, text: str) -> None:
        write(self.logger, logging.INFO, part, text)

    def warning(self, part: str, text: str) -> None:
        write(self.logger, logging.WARNING, part, text)

    def tell(self, part: str, diagnostics: Iterable[Diagnostic]) -> None:
        """Diagnostics, each at its own level."""
        for found in diagnostics:
            level = logging.ERROR if found.level is Level.ERROR else logging.WARNING
            write(self.logger, level, part, render(found))

    def save(self, name: str, content: str, least: int) -> None:
        """Write a file beside the log where `AMCT_LOG_DUMP` is `least` or more; a failure is told and stops nothing."""
        if self.dump.level < least:
            return
        try:
            write_files({self.dump.folder / name: content.encode()})
        except DiagnosticError as failure:
            self.warning("AMCT", render(failure.diagnostics[0]))
