"""Our values as values of the Language Server Protocol."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from lsprotocol import types
from pygls.uris import from_fs_path

from amctc.diagnostics import Diagnostic, Label, Level
from amctc.lsp.completion import Kind, Suggestion
from amctc.lsp.positions import Positions
from amctc.source import Span

_SEVERITIES: Mapping[Level, types.DiagnosticSeverity] = MappingProxyType(
    {Level.ERROR: types.DiagnosticSeverity.Error, Level.WARNING: types.DiagnosticSeverity.Warning}
)
_KINDS: Mapping[Kind, types.CompletionItemKind] = MappingProxyType(
    {
        "field": types.CompletionItemKind.Field,
        "message": types.CompletionItemKind.Struct,
        "value": types.CompletionItemKind.EnumMember,
        "layer": types.CompletionItemKind.Reference,
        "type": types.CompletionItemKind.Class,
    }
)


def range_of(positions: Positions, start: int, end: int) -> types.Range:
    """The range of the characters `start` (included) to `end` (excluded)."""
    return types.Range(types.Position(*positions.position(start)), types.Position(*positions.position(end)))


def edit_of(positions: Positions, start: int, end: int, text: str) -> types.TextEdit:
    """The edit that puts a text in the place of characters."""
    return types.TextEdit(range_of(positions, start, end), text)


def to_lsp(diagnostic: Diagnostic, positions: Positions, uri: str) -> types.Diagnostic:
    """A diagnostic of a document; one without a place in it is put at its beginning."""
    span = diagnostic.span
    here = span is not None and span.source.text == positions.text
    place = range_of(positions, span.start, span.end) if span is not None and here else range_of(positions, 0, 0)
    lines = [diagnostic.message, *(f"note: {note}" for note in diagnostic.notes)]
    if span is not None and not here:
        lines.append(f"note: it is at {span}")
    if diagnostic.help:
        lines.append(f"help: {diagnostic.help}")
    related = [_related(label, positions, uri) for label in diagnostic.related]
    return types.Diagnostic(
        range=place,
        message="\n".join(lines),
        severity=_SEVERITIES[diagnostic.level],
        code=diagnostic.code,
        source="amctc",
        related_information=[found for found in related if found is not None] or None,
    )


def _related(label: Label, positions: Positions, uri: str) -> types.DiagnosticRelatedInformation | None:
    location = _location(label.span, positions, uri)
    return types.DiagnosticRelatedInformation(location, label.text) if location is not None else None


def _location(span: Span, positions: Positions, uri: str) -> types.Location | None:
    if span.source.text == positions.text:
        return types.Location(uri, range_of(positions, span.start, span.end))
    other = from_fs_path(os.path.abspath(span.source.name))
    if other is None:
        return None
    return types.Location(other, range_of(Positions(span.source.text, positions.encoding), span.start, span.end))


def item_of(found: Suggestion, place: int, positions: Positions, snippets: bool) -> types.CompletionItem:
    """A suggestion, the `place`-th of its list; with a snippet where the editor takes them."""
    snippet = found.snippet if snippets else ""
    return types.CompletionItem(
        label=found.label,
        kind=_KINDS[found.kind],
        detail=found.detail or None,
        documentation=types.MarkupContent(types.MarkupKind.Markdown, found.doc) if found.doc else None,
        sort_text=f"{place:05}",
        filter_text=found.label,
        insert_text_format=types.InsertTextFormat.Snippet if snippet else types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AdjustIndentation if snippet else None,
        text_edit=edit_of(positions, found.start, found.end, snippet or found.text),
    )
