"""Our diagnostics as the exceptions that scripts for the original expect.

A traceback shows each under the name of its built-in kind, as the original's: `RuntimeError: Cannot find …`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from amctc.compat.interface_log import InterfaceLog
from amctc.diagnostics import Diagnostic, DiagnosticError, Level, render

P = ParamSpec("P")
R = TypeVar("R")


class Refused(DiagnosticError):
    """A call that cannot be done; carries the diagnostics. `str` begins with the sentence of the first error."""

    def __str__(self) -> str:
        first, *others = sorted(self.diagnostics, key=lambda found: found.level is not Level.ERROR)
        head = f"{first.message} [{first.code}]".replace("\n", "\u240a")
        _, _, rest = render(first).partition("\n")
        return "\n".join(line for line in (head, rest, *map(render, others)) if line)


class WrongType(Refused, TypeError):
    """An argument of a type that the function does not take."""

    __module__ = "builtins"
    __qualname__ = "TypeError"


class WrongValue(Refused, ValueError):
    """An argument, a config or a model that is wrong in itself."""

    __module__ = "builtins"
    __qualname__ = "ValueError"


class WrongState(Refused, RuntimeError):
    """What cannot be done as things stand: a call out of order, factors that are missing."""

    __module__ = "builtins"
    __qualname__ = "RuntimeError"


class NothingToQuantize(Refused, ValueError, RuntimeError):
    """A config that leaves no layer: the original raises a ValueError for writing it, a RuntimeError for reading it."""

    __module__ = "builtins"
    __qualname__ = "RuntimeError"


class MissingFile(Refused, FileNotFoundError, RuntimeError):
    """A file that is not there: a RuntimeError in the original."""

    __module__ = "builtins"
    __qualname__ = "FileNotFoundError"


class Unwritable(Refused, OSError):
    """A file that cannot be written."""

    __module__ = "builtins"
    __qualname__ = "OSError"


class NotBuilt(Refused, NotImplementedError):
    """What this version does not do. NotImplementedError is a RuntimeError."""

    __module__ = "builtins"
    __qualname__ = "NotImplementedError"


_KINDS: Final[dict[str, type[Refused]]] = {
    "AM224": NothingToQuantize,
    "AM290": NotBuilt,
    "AM332": WrongState,
    "AM510": NothingToQuantize,
    "AM630": WrongType,
    "AM631": WrongValue,
    "AM635": WrongValue,
    "AM638": NothingToQuantize,
    "AM700": Unwritable,
}
"""By code; see `_kind` for the others."""


def refused(diagnostics: tuple[Diagnostic, ...]) -> Refused:
    """The exception of the kind that the first error asks for."""
    first = next((found for found in diagnostics if found.level is Level.ERROR), None)
    return (_kind(first) if first is not None else WrongState)(*diagnostics)


def _kind(found: Diagnostic) -> type[Refused]:
    if found.code in ("AM100", "AM310") and found.file is not None and not Path(found.file).exists():
        return MissingFile
    if found.code in _KINDS:
        return _KINDS[found.code]
    return WrongValue if found.code < "AM400" else WrongState


def telling(log: InterfaceLog) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let the functions of an interface raise the original's kinds of exceptions, and log them.

    The first call begins the log file anew.
    """

    def told(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            log.start()
            try:
                return function(*args, **kwargs)
            except DiagnosticError as mistakes:
                found = mistakes if isinstance(mistakes, Refused) else refused(mistakes.diagnostics)
                log.tell(function.__name__, found.diagnostics)
                raise found from None

        return call

    return told
