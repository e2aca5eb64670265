"""Offsets in a text to lines and characters as the Language Server Protocol counts them, and back."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Positions:
    """The places of one text. Lines and characters begin at 0; a character is one unit of the encoding.

    `encoding` is `utf-8`, `utf-16` or `utf-32`. What is beyond the end of a line or of the text is its end.
    """

    text: str
    encoding: str = "utf-16"

    def position(self, offset: int) -> tuple[int, int]:
        """The (line, character) of an offset in code points."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self._starts, offset) - 1
        return line, self._units(self.text[self._starts[line] : offset])

    def offset(self, line: int, character: int) -> int:
        """The offset in code points of a (line, character)."""
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self.text)
        start = self._starts[line]
        end = self._ends[line]
        if self.encoding == "utf-32" or self.text[start:end].isascii():
            return min(start + max(character, 0), end)
        left = character
        for at in range(start, end):
            if left <= 0:
                return at
            left -= self._units(self.text[at])
        return end

    def _units(self, text: str) -> int:
        if self.encoding == "utf-32" or text.isascii():
            return len(text)
        if self.encoding == "utf-8":
            return len(text.encode("utf-8", "surrogatepass"))
        return len(text.encode("utf-16-le", "surrogatepass")) // 2

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return (0, *(found.end() for found in _LINE_END.finditer(self.text)))

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Where each line ends, its line end left out."""
        return (*(found.start() for found in _LINE_END.finditer(self.text)), len(self.text))
