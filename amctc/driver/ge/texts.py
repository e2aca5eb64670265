"""Reading the values of keys: lists of names with shapes, of names, of outputs, of files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from amctc.diagnostics import Collector, Diagnostic, error
from amctc.ir.node import Shape
from amctc.source import SourceFile, Span

MOST_AXES: Final = 8
LARGEST_SIZE: Final = 2**31 - 1
_MOST_ENTRIES: Final = 1000
_QUOTE: Final = '"'


@dataclass(frozen=True)
class Entry:
    """One entry of a list: its text without blanks and quotes around it, and where it stands."""

    text: str
    span: Span


@dataclass(frozen=True)
class StatedShape:
    """An input's shape, where it stands, and where the input's name does."""

    shape: Shape
    span: Span
    name_span: Span


def entries(source: SourceFile, separator: str) -> tuple[Entry, ...]:
    """The entries of a list, of which the last may have a separator behind it.

    Quotes around the whole text, or around an entry, are no part of them; between quotes a separator is one no more,
    but in quotes around a whole text that lists several. Raises `DiagnosticError` (AM882) for quotes that do not end,
    for an empty entry, and for more than 1000.
    """
    start, end = _unquoted(source.text)
    found = [_entry(source, begin, stop) for begin, stop in _cut(source, start, end, separator)]
    if len(found) > 1 and not found[-1].text:
        found.pop()
    if len(found) > _MOST_ENTRIES:
        raise error("AM882", f"`{source.name}` has {len(found)} entries, and {_MOST_ENTRIES} are the most")
    for entry in found:
        if not entry.text:
            message = f"`{source.name}` has an entry with nothing in it"
            raise error("AM882", message, entry.span, help=f"between two entries stands one `{separator}`")
    return tuple(found)


def read_shapes(source: SourceFile, collector: Collector) -> dict[str, StatedShape]:
    """The shapes in a text such as `name1:n,c,h,w;name2:n,c`, by name, in their order.

    Mistakes go to the collector: AM882 and AM883.
    """
    found: dict[str, StatedShape] = {}
    for entry in entries(source, ";"):
        name, colon, sizes = entry.text.rpartition(":")
        at = entry.span.start + len(name) + 1
        if not colon or not name.strip(' "'):
            message = f"`{entry.text[:60]}` is no name with a shape"
            collector.add(Diagnostic("AM883", message, span=entry.span, help=_SHAPE_HELP))
            continue
        name_span = source.span(entry.span.start, at - 1)
        name = name.strip().strip(_QUOTE)
        shape = _sizes(source, sizes, at, collector)
        if name in found:
            message = f"`{name[:60]}` has two shapes"
            collector.add(Diagnostic("AM883", message, span=name_span, help="take one of the two out"))
        elif shape is not None:
            found[name] = StatedShape(shape, source.span(at, entry.span.end), name_span)
    return found


_SHAPE_HELP: Final = "write `name:n,c,h,w`, and a `;` between two inputs"


def _sizes(source: SourceFile, text: str, at: int, collector: Collector) -> Shape | None:
    """The sizes of a shape; None, with AM883, where they are none."""
    parts = text.split(",")
    if len(parts) > MOST_AXES:
        span = source.span(at, at + len(text))
        collector.add(Diagnostic("AM883", f"a shape has {MOST_AXES} sizes at most, not {len(parts)}", span=span))
        return None
    found: list[int] = []
    for part in parts:
        word = part.strip()
        begin = at + len(part) - len(part.lstrip())
        at += len(part) + 1
        if re.fullmatch(r"\d{1,10}", word, re.ASCII) and 1 <= int(word) <= LARGEST_SIZE:
            found.append(int(word))
            continue
        span = source.span(begin, begin + max(1, len(word)))
        message, help = f"`{word[:40]}` is no size", "a size is a whole number from 1 on"
        if word.startswith("-") or word == "0":
            help = "data have a size on every axis: write that of the data, also where the graph leaves it free"
        collector.add(Diagnostic("AM883", message, span=span, help=help))
    return tuple(found) if len(found) == len(parts) else None


def _unquoted(text: str) -> tuple[int, int]:
    """Where the list begins and ends: inside quotes that stand around all of it."""
    start, end = _trimmed(text, 0, len(text))
    if end - start >= 2 and text[start] == text[end - 1] == _QUOTE and _QUOTE not in text[start + 1 : end - 1]:
        return start + 1, end - 1
    return start, end


def _cut(source: SourceFile, start: int, end: int, separator: str) -> Iterator[tuple[int, int]]:
    opened: int | None = None
    begin = start
    for place in range(start, end):
        char = source.text[place]
        if char == _QUOTE:
            opened = place if opened is None else None
        elif char == separator and opened is None:
            yield begin, place
            begin = place + 1
    if opened is not None:
        message = f"a quote in `{source.name}` has no second one"
        raise error("AM882", message, source.span(opened, opened + 1), help="add it, or take this one out")
    yield begin, end


def _entry(source: SourceFile, start: int, end: int) -> Entry:
    start, end = _trimmed(source.text, start, end)
    text = source.text[start:end]
    if len(text) >= 2 and text[0] == text[-1] == _QUOTE and _QUOTE not in text[1:-1]:
        start, end = _trimmed(source.text, start + 1, end - 1)
    return Entry(source.text[start:end], source.span(start, end))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    begin = start + len(part) - len(part.lstrip())
    return begin, max(begin, start + len(part.rstrip()))
