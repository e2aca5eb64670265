"""Layout of the protobuf text format: another look, the same tree, every comment kept.

The tree of `amctc.text.prototext` has neither comments nor lists, so a text is read here once more, into
parts that have both. It has been parsed before that: what is read here has no mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from amctc.source import SourceFile
from amctc.text.prototext import parse_prototext

WIDTH = 100
"""A list longer than this many characters is broken, one item a line."""

_INDENT = "  "
_BEFORE_COMMENT = "  "
_BLANK = re.compile(r"[ \t\r\n\f\v\ufeff]*")
_COMMENT = re.compile(r"#[^\n]*")
_STRING = re.compile(r""""[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'""")
_WORD = re.compile(r"[0-9.][A-Za-z0-9_.]*(?:(?<=[eE])[+-][0-9]+[fF]?)?|[A-Za-z_][A-Za-z0-9_]*")
_EXTENSION = re.compile(r"\[[ \t]*([^ \t\]]+)[ \t]*\]")
_IN_QUOTES = re.compile(r"""\\.|["']""")
_CLOSED_BY = {"{": "}", "<": ">", "[": "]"}


def format_prototext(source: SourceFile) -> str:
    """The text in its one layout: two spaces a level, one field a line, strings in double quotes.

    Lists stay lists: on one line where they were written so and are not longer than `WIDTH`. Of blank
    lines between fields one is kept. A comment stays on its own line or at the end of its line; one
    inside a field moves above it. Formatting again changes nothing, and the tree of the result equals
    that of the text. Line ends are those of the first line. Raises `DiagnosticError` as
    `parse_prototext` does.
    """
    parse_prototext(source)
    block = _Reader(source.text).file()
    lines = _aligned(list(_lines(block.entries, block.rest, "")))
    first_end = source.text.find("\n")
    end = "\r\n" if source.text[:first_end].endswith("\r") and first_end > 0 else "\n"
    return "".join(line + end for line in lines)


@dataclass(frozen=True)
class _Comment:
    """A comment on a line of its own; `blank` says that a blank line stands before it."""

    text: str
    blank: bool


@dataclass(frozen=True)
class _Gap:
    """What stands between two tokens.

    `tail` is a comment on the line of the first token; `blank` is about the line before the second
    token, `broken` says that the two are on different lines.
    """

    tail: str = ""
    comments: tuple[_Comment, ...] = ()
    blank: bool = False
    broken: bool = False

    def above(self) -> tuple[_Comment, ...]:
        """All its comments, as lines of their own."""
        return (_Comment(self.tail, False), *self.comments) if self.tail else self.comments

    def then(self, other: _Gap) -> _Gap:
        """This gap and the next one, without the separator between them."""
        blank, broken = other.blank, self.broken or other.broken
        if self.tail or self.comments:
            return _Gap(self.tail, self.comments + other.above(), blank, broken)
        return _Gap(other.tail, other.comments, blank, broken)


@dataclass(frozen=True)
class _Block:
    """What stands in brackets, or neighbouring strings (`opening` is a quote then).

    `head` is the comment after the opening bracket, `rest` are those before the closing one.
    `broken` says that the parts are not all on one line.
    """

    opening: str
    head: str
    entries: tuple[_Entry, ...]
    rest: tuple[_Comment, ...]
    broken: bool


@dataclass(frozen=True)
class _Entry:
    """A field, or an item of a list or of a row of strings, which has no name. `tail` ends its last line."""

    name: str
    value: str | _Block
    above: tuple[_Comment, ...]
    blank: bool
    tail: str = ""


@dataclass(frozen=True)
class _Line:
    pad: str = ""
    code: str = ""
    tail: str = ""


class _Reader:
    """Reads a text without mistakes from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def file(self) -> _Block:
        gap = self._gap()
        entries, rest = self._fields(replace(gap, tail="", comments=gap.above()))
        return _Block("", "", entries, rest.above(), True)

    def _fields(self, gap: _Gap) -> tuple[tuple[_Entry, ...], _Gap]:
        """Fields up to a closing bracket or the end, and the gap after the last."""
        entries: list[_Entry] = []
        while self._next not in ("", "}", ">"):
            entry, gap = self._field(gap)
            entries.append(entry)
        return tuple(entries), gap

    def _field(self, before: _Gap) -> tuple[_Entry, _Gap]:
        name = self._extension() if self._next == "[" else self._take(_WORD)
        inside = self._gap().above()
        if self._next == ":":
            self._at += 1
            inside += self._gap().above()
        return self._entry(name, before, inside, ",;")

    def _entry(self, name: str, before: _Gap, inside: tuple[_Comment, ...], separators: str) -> tuple[_Entry, _Gap]:
        """The entry whose value comes next, and the gap after it. Comments inside it come after those before it."""
        value, hoisted, after = self._value()
        inside += hoisted
        if self._next and self._next in separators:
            self._at += 1
            after = after.then(self._gap())
        above, blank = before.comments, before.blank
        if inside:
            above, blank = (*above, replace(inside[0], blank=blank), *inside[1:]), False
        return _Entry(name, value, above, blank, after.tail), replace(after, tail="")

    def _value(self) -> tuple[str | _Block, tuple[_Comment, ...], _Gap]:
        """The value, comments that cannot stay in it, and the gap after it."""
        opening = self._next
        if opening in ("{", "<"):
            gap = self._open()
            entries, rest = self._fields(replace(gap, tail=""))
            self._at += 1
            return _Block("{", gap.tail, entries, rest.comments, True), (), self._gap()
        if opening == "[":
            return self._list(), (), self._gap()
        if opening in ('"', "'"):
            return self._strings()
        if opening == "-":
            inside = self._open().above()
            return f"-{self._take(_WORD)}", inside, self._gap()
        return self._take(_WORD), (), self._gap()

    def _list(self) -> _Block:
        gap = self._open()
        head, gap, broken = gap.tail, replace(gap, tail=""), gap.broken
        items: list[_Entry] = []
        while self._next != "]":
            item, gap = self._entry("", gap, (), ",")
            broken = broken or gap.broken
            items.append(item)
        self._at += 1
        return _Block("[", head, tuple(items), gap.comments, broken)

    def _strings(self) -> tuple[str | _Block, tuple[_Comment, ...], _Gap]:
        parts = [_Entry("", _double_quoted(self._take(_STRING)), (), False)]
        after = self._gap()
        broken = False
        while self._next in ('"', "'"):
            broken = broken or after.broken
            parts[-1] = replace(parts[-1], tail=after.tail)
            parts.append(_Entry("", _double_quoted(self._take(_STRING)), after.comments, False))
            after = self._gap()
        if not broken:
            return " ".join(str(part.value) for part in parts), (), after
        return _Block('"', "", tuple(parts), (), True), (), after

    @property
    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _open(self) -> _Gap:
        """The gap after a sign of one character."""
        self._at += 1
        return self._gap()

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None, "a text that parses has no such character here"
        self._at = found.end()
        return found[0]

    def _extension(self) -> str:
        return "[" + self._take(_EXTENSION)[1:-1].strip(" \t") + "]"

    def _gap(self) -> _Gap:
        tail = ""
        comments: list[_Comment] = []
        lines = 0
        broken = False
        while True:
            lines += self._take(_BLANK).count("\n")
            broken = broken or lines > 0
            if self._next != "#":
                return _Gap(tail, tuple(comments), lines > 1, broken)
            text = self._take(_COMMENT).rstrip(" \t\r\f\v\ufeff")
            if broken:
                comments.append(_Comment(text, lines > 1))
            else:
                tail = text
            lines = 0


def _double_quoted(literal: str) -> str:
    """A string literal with double quotes around it; escapes stay as they are."""
    if literal[0] == '"':
        return literal
    said = {"\\'": "'", '"': '\\"'}
    return '"' + _IN_QUOTES.sub(lambda found: said.get(found[0], found[0]), literal[1:-1]) + '"'


def _lines(entries: Sequence[_Entry], rest: Sequence[_Comment], pad: str, comma: str = "") -> Iterator[_Line]:
    """The lines of a block's inside; a blank line stands only between two others."""
    first = True
    for place, entry in enumerate(entries):
        for comment in entry.above:
            yield from _comment(comment, pad, first)
            first = False
        if entry.blank and not first:
            yield _Line()
        first = False
        end = comma if place < len(entries) - 1 else ""
        yield from _entry(entry, pad, end)
    for comment in rest:
        yield from _comment(comment, pad, first)
        first = False


def _comment(comment: _Comment, pad: str, first: bool) -> Iterator[_Line]:
    if comment.blank and not first:
        yield _Line()
    yield _Line(pad, comment.text)


def _entry(entry: _Entry, pad: str, end: str) -> Iterator[_Line]:
    value = entry.value
    colon = f"{entry.name}: " if entry.name else ""
    if isinstance(value, str):
        yield _Line(pad, f"{colon}{value}{end}", entry.tail)
    elif value.opening == '"':
        yield from _rows(value, f"{entry.name}:" if entry.name else "", pad, end, entry.tail)
    else:
        brace = f"{entry.name} " if entry.name and value.opening == "{" else colon
        short = _on_one_line(value, pad + brace)
        if short is not None:
            yield _Line(pad, f"{brace}{short}{end}", entry.tail)
            return
        yield _Line(pad, brace + value.opening, value.head)
        yield from _lines(value.entries, value.rest, pad + _INDENT, "," if value.opening == "[" else "")
        yield _Line(pad, _CLOSED_BY[value.opening] + end, entry.tail)


def _rows(strings: _Block, name: str, pad: str, end: str, tail: str) -> Iterator[_Line]:
    """Neighbouring strings, one a line, a level deeper than the name if there is one."""
    if name:
        yield _Line(pad, name)
        pad += _INDENT
    inner = list(_lines(strings.entries, (), pad))
    yield from inner[:-1]
    yield replace(inner[-1], code=inner[-1].code + end, tail=tail)


def _on_one_line(block: _Block, before: str) -> str | None:
    """The block as part of one line, if it is empty or a short list that was written so."""
    if block.head or block.rest:
        return None
    if not block.entries:
        return block.opening + _CLOSED_BY[block.opening]
    if block.opening == "{" or block.broken:
        return None
    items = [item.value for item in block.entries if isinstance(item.value, str) and not item.above]
    text = f"[{', '.join(items)}]"
    return text if len(items) == len(block.entries) and len(before) + len(text) <= WIDTH else None


def _aligned(lines: Sequence[_Line]) -> Iterator[str]:
    """The lines as text, the comments at the ends of neighbouring lines below each other."""
    column = 0
    for place, line in enumerate(lines):
        if not line.tail:
            yield line.pad + line.code
            continue
        if place == 0 or not _same_run(lines[place - 1], line):
            run = [line]
            while place + len(run) < len(lines) and _same_run(line, lines[place + len(run)]):
                run.append(lines[place + len(run)])
            column = max(len(other.code) for other in run)
        yield line.pad + line.code.ljust(column) + _BEFORE_COMMENT + line.tail


def _same_run(line: _Line, other: _Line) -> bool:
    return bool(line.tail and other.tail) and line.pad == other.pad
