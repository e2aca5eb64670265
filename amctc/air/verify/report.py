"""Gathering what is wrong with a model, bounded however much of it is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from amctc.diagnostics import Diagnostic, Level

Where: TypeAlias = Callable[[int], str]
"""What to call an op of a graph, by its number in it."""

MOST_OF_A_CODE = 20
"""Diagnostics of one code that are told whole; the rest is counted."""

MOST_ERRORS = 1000
"""Errors after which the rest of a model is not looked at: a file of nothing but mistakes takes no minutes."""

_LONGEST_NAME = 80


class Enough(Exception):
    """There are more errors than `MOST_ERRORS`."""


class Report:
    """The diagnostics of one model, in the order found. `file` is named in each of them.

    `error` raises `Enough` when it is asked for more than `MOST_ERRORS`.
    """

    def __init__(self, file: str | None = None) -> None:
        self._file = file
        self._found: list[Diagnostic] = []
        self._counts: Counter[tuple[str, Level]] = Counter()
        self._errors = 0

    def error(self, code: str, message: str, help: str | None = None) -> None:
        self._add(code, message, help, Level.ERROR)
        self._errors += 1
        if self._errors > MOST_ERRORS:
            raise Enough

    def warning(self, code: str, message: str, help: str | None = None) -> None:
        self._add(code, message, help, Level.WARNING)

    def diagnostics(self) -> list[Diagnostic]:
        """Everything told, and one more diagnostic for each code that there were too many of."""
        help = "there is so much wrong that the rest was not looked at" if self._errors > MOST_ERRORS else None
        more = [
            Diagnostic(code, f"and {count - MOST_OF_A_CODE} more of this kind", level, file=self._file, help=help)
            for (code, level), count in self._counts.items()
            if count > MOST_OF_A_CODE
        ]
        return [*self._found, *more]

    def _add(self, code: str, message: str, help: str | None, level: Level) -> None:
        self._counts[code, level] += 1
        if self._counts[code, level] <= MOST_OF_A_CODE:
            self._found.append(Diagnostic(code, message, level, file=self._file, help=help))


def shown(name: str) -> str:
    """A name from the file, in backticks and not longer than a line can take."""
    return f"`{name}`" if len(name) <= _LONGEST_NAME else f"`{name[: _LONGEST_NAME - 1]}…`"


def counted(number: int, what: str) -> str:
    """`1 name`, `2 names`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
