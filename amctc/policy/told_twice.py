"""Fields that a .cfg policy tells twice though they have one value: the last holds, as in the original."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amctc.diagnostics import Diagnostic, Label, Level
from amctc.text.checked import CheckedField, CheckedMessage


def told_twice(root: CheckedMessage) -> Iterator[Diagnostic]:
    """AM232, a warning, for each value that a later one of the same field overrules."""
    yield from _of([root])


def _of(parts: Sequence[CheckedMessage]) -> Iterator[Diagnostic]:
    """Of one message, which may be written in several parts: they are put together."""
    values: dict[str, CheckedField] = {}
    messages: dict[str, list[CheckedMessage]] = {}
    for entry in (entry for part in parts for entry in part.fields):
        if isinstance(entry.value, CheckedMessage):
            if entry.repeated:
                yield from _of([entry.value])
            else:
                messages.setdefault(entry.name, []).append(entry.value)
        elif not entry.repeated:
            earlier = values.get(entry.name)
            if earlier is not None:
                yield _overruled(earlier, entry)
            values[entry.name] = entry
    for found in messages.values():
        yield from _of(found)


def _overruled(earlier: CheckedField, entry: CheckedField) -> Diagnostic:
    lines = earlier.name_span.line, entry.name_span.line
    where = f"on line {lines[1]} overrules the one on line {lines[0]}"
    if lines[0] == lines[1]:
        where = f"is on line {lines[0]} twice, and the last one holds"
    return Diagnostic(
        "AM232",
        f"`{entry.name}` {where}",
        Level.WARNING,
        entry.name_span,
        related=(Label(earlier.name_span, "this is ignored"),),
        help="take one of them out",
    )
