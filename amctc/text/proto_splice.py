"""A `.proto` text put together from pieces of others, which knows where each piece came from."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace

from amctc.diagnostics import Diagnostic, Label
from amctc.source import SourceFile, Span
from amctc.text.proto_decls import FieldDecl
from amctc.text.syntax import token_start

_REST_OF_LINE = re.compile(r"[ \t]*(?://[^\n]*|/\*[^*\n]*(?:\*(?!/)[^*\n]*)*\*/[ \t]*)?(?:\n|$)")


@dataclass(frozen=True)
class Piece:
    """`text` of a spliced text: a copy of what stands at `offset` of `source`, or (`made`) written for it."""

    text: str
    source: SourceFile
    offset: int
    made: bool = False


@dataclass(frozen=True)
class SplicedText:
    """The whole text, and the pieces it was made from."""

    source: SourceFile
    pieces: tuple[Piece, ...]
    starts: tuple[int, ...]
    """Offset of each piece in the whole text."""

    def original(self, span: Span) -> Span:
        """The place in one of the original texts that a place in the whole text came from."""
        number = max(bisect_right(self.starts, span.start) - 1, 0)
        piece = self.pieces[number]
        if piece.made:
            return piece.source.span(piece.offset, piece.offset + 1)
        start = piece.offset + span.start - self.starts[number]
        return piece.source.span(start, start + span.end - span.start)

    def restore(self, diagnostic: Diagnostic) -> Diagnostic:
        """A diagnostic about the whole text as one about the original texts."""
        related = tuple(Label(self._span(label.span), label.text) for label in diagnostic.related)
        span = diagnostic.span
        return replace(diagnostic, span=self._span(span) if span is not None else None, related=related)

    def _span(self, span: Span) -> Span:
        return self.original(span) if span.source is self.source else span


def join(name: str, pieces: list[Piece]) -> SplicedText:
    """The pieces, one after the other, as one named text."""
    kept = tuple(piece for piece in pieces if piece.text)
    starts: list[int] = []
    length = 0
    for piece in kept:
        starts.append(length)
        length += len(piece.text)
    return SplicedText(SourceFile(name, "".join(piece.text for piece in kept)), kept, tuple(starts))


def copied(source: SourceFile, start: int, end: int) -> Piece:
    """The characters `start` to `end` of a text."""
    return Piece(source.text[start:end], source, start)


def field_line(source: SourceFile, field: FieldDecl) -> list[Piece]:
    """A field on a line of its own, without comments: such as line-based readers of `.proto` files need it."""
    label = f"{field.label} " if field.label else ""
    type_name = field.type_name if field.map_key is None else f"map<{field.map_key}, {field.type_name}>"
    pieces = [Piece(f"  {label}", source, field.start, made=True)]
    type_start, name_start, number_start = map(token_start, (field.type_name, field.name, field.number))
    pieces.append(Piece(str(type_name), source, type_start))
    pieces += [Piece(" ", source, name_start, made=True), Piece(str(field.name), source, name_start)]
    pieces += [Piece(" = ", source, number_start, made=True), Piece(str(field.number), source, number_start)]
    if field.options:
        written = [f"{option.name} = {' '.join(map(str, option.value.tokens))}" for option in field.options]
        place = token_start(field.options[0].value.tokens[0])
        pieces.append(Piece(f" [{', '.join(written)}]", source, place, made=True))
    return [*pieces, Piece(";\n", source, field.start, made=True)]


def whole_lines(source: SourceFile, start: int, end: int, comments: bool) -> tuple[int, int]:
    """A declaration's place widened to the lines it fills, and to the comment lines right above if `comments`.

    A declaration that shares its line with another is left as it is.
    """
    text = source.text
    line_start = text.rfind("\n", 0, start) + 1
    rest = _REST_OF_LINE.match(text, end)
    if text[line_start:start].strip() or rest is None:
        return start, end
    while comments and line_start:
        above = text.rfind("\n", 0, line_start - 1) + 1
        if not text[above:line_start].lstrip().startswith("//"):
            break
        line_start = above
    return line_start, rest.end()
