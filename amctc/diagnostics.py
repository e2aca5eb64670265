"""What we tell a user about their input: one `Diagnostic` value, two renderers, one exception.

Every mistake a user can make ends in a `DiagnosticError` that carries all the diagnostics of the
stage that found them. Codes are stable: AM1xx reading text, AM2xx policies, AM3xx models, AM4xx
data and calibration, AM5xx passes and pipelines, AM6xx records, AM7xx targets and files, AM8xx the
command line, AM9xx training.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from unicodedata import combining, east_asian_width

from amctc.source import Span


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Label:
    """A second place that explains the first, and what stands there."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One thing to tell the user.

    `message` is one lower-case sentence that stands alone, without a final stop. `span` points at
    the characters concerned; `file` names a file that has no text to point into. `label` is
    written under the carets. `help` says what to do.
    """

    code: str
    message: str
    level: Level = Level.ERROR
    span: Span | None = None
    file: str | None = None
    label: str = ""
    related: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None

    @property
    def location(self) -> str | None:
        """`file:line:column`, or the file alone, or None."""
        return str(self.span) if self.span is not None else self.file

    def __str__(self) -> str:
        return render(self)


class DiagnosticError(Exception):
    """The user's input is wrong; carries every diagnostic that was found, warnings included."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(render(d) for d in diagnostics))


def error(
    code: str,
    message: str,
    span: Span | None = None,
    *,
    file: str | None = None,
    label: str = "",
    related: tuple[Label, ...] = (),
    notes: tuple[str, ...] = (),
    help: str | None = None,
) -> DiagnosticError:
    """A `DiagnosticError` of one diagnostic, to be raised by the caller."""
    return DiagnosticError(
        Diagnostic(
            code,
            message,
            span=span,
            file=file,
            label=label,
            related=related,
            notes=notes,
            help=help,
        )
    )


class Collector:
    """Gathers the diagnostics of one stage, so that a file's mistakes are all told at once."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []

    def add(self, diagnostic: Diagnostic) -> None:
        self.diagnostics.append(diagnostic)

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics.extend(diagnostics)

    @property
    def has_errors(self) -> bool:
        return any(d.level is Level.ERROR for d in self.diagnostics)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.level is Level.WARNING)

    def raise_errors(self) -> None:
        """Raise `DiagnosticError` with everything gathered, if an error is among it."""
        if self.has_errors:
            raise DiagnosticError(*self.diagnostics)


_SHORTEST_BEGINNING = 3


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean `x`?` for the known word nearest to a misspelt one, or the only one that begins with it."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not near and len(word) >= _SHORTEST_BEGINNING:
        near = [other for other in words if other.startswith(word)]
    return f"did you mean `{near[0]}`?" if len(near) == 1 else None


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as text: head, place, excerpt with carets, notes and help.

    What a file says may be quoted anywhere in it, so control characters are shown as signs: a terminal obeys none.
    """
    lines = [f"{diagnostic.level}[{diagnostic.code}]: {diagnostic.message}".replace("\n", "\u240a")]
    if diagnostic.span is not None:
        lines.append(f"  --> {diagnostic.span}")
        lines.extend(_excerpt(diagnostic.span, diagnostic.label))
    elif diagnostic.file is not None:
        lines.append(f"  --> {diagnostic.file}")
    for related in diagnostic.related:
        lines.append(f"  ::: {related.span}")
        lines.extend(_excerpt(related.span, related.text, mark="-"))
    lines.extend(f"  note: {note}" for note in diagnostic.notes)
    if diagnostic.help:
        lines.append(f"  help: {diagnostic.help}")
    return "\n".join(map(_visible, lines))


def to_json(diagnostic: Diagnostic) -> dict[str, object]:
    """The diagnostic as plain data, for `--json`."""
    span = diagnostic.span
    end = span.source.position(span.end) if span is not None else None
    return {
        "code": diagnostic.code,
        "level": str(diagnostic.level),
        "message": diagnostic.message,
        "file": span.source.name if span is not None else diagnostic.file,
        "line": span.line if span is not None else None,
        "column": span.column if span is not None else None,
        "end_line": end[0] if end is not None else None,
        "end_column": end[1] if end is not None else None,
        "label": diagnostic.label or None,
        "related": [{"location": str(r.span), "text": r.text} for r in diagnostic.related],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


_WIDEST_EXCERPT = 160


def _excerpt(span: Span, label: str, mark: str = "^") -> list[str]:
    line, column = span.source.position(span.start)
    start, end = span.source.line_range(line)
    # A minified file is one huge line: show the part around the place only.
    cut = max(0, column - 1 - _WIDEST_EXCERPT // 2) if end - start > _WIDEST_EXCERPT else 0
    shown = span.source.text[start + cut : min(start + cut + _WIDEST_EXCERPT, end)].replace("\t", " ")
    before = column - 1 - cut
    under = shown[before : before + span.end - span.start]
    gutter = str(line)
    pad = " " * len(gutter)
    carets = " " * _cells(shown[:before]) + mark * max(1, _cells(under))
    return [
        f"{gutter} | {shown}".rstrip(),
        f"{pad} | {carets} {label}".rstrip(),
    ]


def _visible(line: str) -> str:
    """The line with a sign for each control character; line ends of notes stay."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\n" else _sign(char) for char in line)


def _sign(char: str) -> str:
    if char < " ":
        return chr(0x2400 + ord(char))
    return "\u2421" if char == "\x7f" else "\ufffd"


def _cells(text: str) -> int:
    """How many columns of a terminal the text takes: a Chinese character takes two, a combining mark none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)
