"""Source text and the places in it: what every reader hands on and every diagnostic points at."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_LINE_END = re.compile("\n")


@dataclass(frozen=True)
class SourceFile:
    """A named text. `name` is the path as the user gave it; it is only ever printed."""

    name: str
    text: str

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of the first character of each line, in characters."""
        return (0, *(match.end() for match in _LINE_END.finditer(self.text)))

    def position(self, offset: int) -> tuple[int, int]:
        """The 1-based (line, column) of a character offset; an offset past the end is the end."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its line end; empty when there is no such line."""
        start, end = self.line_range(number)
        return self.text[start:end]

    def line_range(self, number: int) -> tuple[int, int]:
        """The offsets between which a 1-based line stands, without its line end; empty when there is no such line."""
        starts = self.line_starts
        if not 1 <= number <= len(starts):
            return 0, 0
        start, end = starts[number - 1], starts[number] - 1 if number < len(starts) else len(self.text)
        while end > start and self.text[end - 1] == "\r":
            end -= 1
        return start, end

    def span(self, start: int, end: int) -> Span:
        """The characters `start` (included) to `end` (excluded)."""
        return tuple.__new__(Span, (self, start, end))  # as `Span(...)` does, in a third of the time


class Span(NamedTuple):
    """Characters `start` (included) to `end` (excluded) of a source file.

    A tuple, for it is made a million times: a frozen dataclass takes three times as long to make.
    """

    source: SourceFile
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"
