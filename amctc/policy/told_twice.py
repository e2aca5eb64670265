"""Fields that a .cfg policy tells twice though they have one value: the last holds, as in the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from amctc.diagnostics import Diagnostic, Label, Level
from amctc.text.checked import CheckedField, CheckedMessage

_MOST_TOLD: Final = 10


def told_twice(root: CheckedMessage) -> list[Diagnostic]:
    """AM232, a warning, for the first ten values that a later one of the same field overrules."""
    found: list[tuple[CheckedField, CheckedField]] = []
    _look_in([root], found)
    told = [_overruled(earlier, entry) for earlier, entry in found[:_MOST_TOLD]]
    more = len(found) - _MOST_TOLD
    if more > 0:
        note = f"the same holds in {more} more place{'s' if more > 1 else ''}"
        told[-1] = replace(told[-1], notes=(note,))
    return told


def _look_in(parts: Sequence[CheckedMessage], found: list[tuple[CheckedField, CheckedField]]) -> None:
    """Find what is overruled, and by what, in one message; one written in several parts is put together."""
    values: dict[str, CheckedField] = {}
    messages: dict[str, list[CheckedMessage]] = {}
    for entry in parts[0].fields if len(parts) == 1 else [entry for part in parts for entry in part.fields]:
        if isinstance(entry.value, CheckedMessage):
            if entry.repeated:
                _look_in([entry.value], found)
            else:
                messages.setdefault(entry.name, []).append(entry.value)
        elif not entry.repeated:
            earlier = values.get(entry.name)
            if earlier is not None:
                found.append((earlier, entry))
            values[entry.name] = entry
    for same in messages.values():
        _look_in(same, found)


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
