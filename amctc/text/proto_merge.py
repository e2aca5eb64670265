"""Merging `.proto` files that declare parts of one message: whose declaration counts, and what clashes.

One message (`LayerParameter`) is unified: the fields that the files give it come together in one block. Of every other
message or enum one copy is kept. What a file may do to those before it is its `Standing`; the rules for users' files
are those of seed 001 (proto merge principle, and its FAQ).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lark import Token

from amctc.diagnostics import Collector, Diagnostic, Label, Level, error
from amctc.source import Span
from amctc.text.proto_decls import Constant, Definition, FieldDecl
from amctc.text.proto_parts import FieldEntry, Found, MergeRules, ProtoPart, Standing
from amctc.text.proto_splice import Piece, SplicedText, copied, field_line, join, whole_lines
from amctc.text.proto_syntax import constant_number
from amctc.text.syntax import token_span

RECOMMENDED_END = 5000
"""Users' field numbers are recommended to be below this."""

FIRST_SUGGESTED = 1000
_BLANKS = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)


def merge_protos(parts: Sequence[ProtoPart], rules: MergeRules, collector: Collector, name: str) -> SplicedText:
    """The text of the first part with what the others add; what clashes goes to the collector.

    The first part must declare the unified message (else AM144 is raised). Each field added to that
    message stands on a line of its own before its closing brace; added messages and enums stand at
    the end, with the comment lines right above them. With errors in the collector the text must not
    be used. Codes: AM122 declared twice in one file, AM140 a field number that is taken, AM141 a
    field name and AM142 a message name that may not be used, AM143 (a warning) a message that the
    user's replaces, AM144 a file that cannot be merged.
    """
    if not any(message.name == rules.unified for message in parts[0].file.messages):
        name = parts[0].file.source.name
        help = "give the whole caffe.proto of a Caffe"
        raise error("AM144", f"`{name}` declares no message `{rules.unified}`", file=name, help=help)
    merger = Merger(rules, collector, _used_numbers(parts, rules))
    for part in parts:
        merger.add(part)
    return _splice(parts, merger.found, rules, name)


class Merger:
    """Takes in one file after the other.

    A user's file may declare fields and messages that those before have, and then counts: a field
    with another number moves there, a message is replaced with a warning. It may not use a number
    that another field has, nor a name of a reserved file. A number of a `FILLING` file it may use:
    that field is dropped.
    """

    def __init__(self, rules: MergeRules, collector: Collector, used: set[int]) -> None:
        self.found = Found()
        self._rules = rules
        self._collector = collector
        self._used = used
        self._suggested = FIRST_SUGGESTED - 1

    def add(self, part: ProtoPart) -> None:
        if part.file.syntax != "proto2":
            message = f"`{part.file.source.name}` is proto3; Caffe's messages are proto2"
            help = 'begin it with `syntax = "proto2";` and give each field its label'
            self._collector.add(Diagnostic("AM144", message, file=part.file.source.name, help=help))
            return
        fields = self._once(part)
        self._add_fields(part, fields)
        for decl in part.file.definitions:
            if decl.name != self._rules.unified:
                self._add_definition(part, decl)

    def _once(self, part: ProtoPart) -> list[FieldEntry]:
        """The part's fields of the unified message, without those that cannot stand in it or stand there twice."""
        fields: dict[str, FieldEntry] = {}
        for decl in _unified_fields(part, self._rules, self._collector):
            entry = FieldEntry(part, decl, _number(part, decl))
            first = fields.setdefault(entry.name, entry)
            if first is not entry:
                self._report("AM122", f"`{decl.name}` is declared twice", entry.span, first.span, "declared here first")
        return list(fields.values())

    def _add_fields(self, part: ProtoPart, fields: list[FieldEntry]) -> None:
        if part.standing is not Standing.FILLING:
            # A base's field that the part declares anew makes its number free before the numbers are compared.
            fields = [entry for entry in fields if self._may_declare(entry)]
            for entry in fields:
                self.found.drop(entry.name)
        for entry in fields:
            if entry.name not in self.found.fields and self._may_have_number(entry):
                self.found.put(entry)

    def _may_declare(self, entry: FieldEntry) -> bool:
        name = entry.name
        old = self.found.fields.get(name)
        if old is None:
            return True
        fixed = name in self._rules.fixed_fields
        if not fixed and (entry.part.standing is not Standing.CUSTOM or old.part.standing is not Standing.RESERVED):
            return True
        same = (old.number, str(old.decl.type_name)) == (entry.number, str(entry.decl.type_name))
        if entry.part.standing is Standing.CUSTOM and not (fixed and same):
            message = f"`{name}` is a field of {old.part.owner}, number {old.number}, and cannot be declared anew"
            help = f"give the field another name; {self._suggestion()} is a free number"
            self._report("AM141", message, entry.span, old.span, "declared here", help)
        return False

    def _may_have_number(self, entry: FieldEntry) -> bool:
        other = self.found.with_number(entry.number)
        if other is None:
            return True
        if entry.part.standing is Standing.FILLING:
            return False
        fixed = other.name in self._rules.fixed_fields
        gives_way = other.part.standing is Standing.FILLING or entry.part.standing is Standing.FORK
        if gives_way and not fixed and entry.part.standing is not Standing.RESERVED:
            self.found.drop(other.name)
            return True
        mine, theirs = entry, other
        if entry.part.standing is Standing.RESERVED:
            mine, theirs = other, entry
        message = (
            f"the number {entry.number} of `{mine.decl.name}` is that of `{theirs.decl.name}` in {theirs.part.owner}"
        )
        span = token_span(mine.part.file.source, mine.decl.number)
        help = f"give `{mine.decl.name}` a free number below {RECOMMENDED_END}, such as {self._suggestion()}"
        label = f"`{theirs.decl.name}` has it here"
        self._report("AM140", message, span, token_span(theirs.part.file.source, theirs.decl.number), label, help)
        return False

    def _add_definition(self, part: ProtoPart, decl: Definition) -> None:
        name = str(decl.name)
        old = self.found.definitions.get(name)
        if old is not None and old[0] is part:
            first = token_span(part.file.source, old[1].name)
            self._report("AM122", f"`{name}` is declared twice", _name_span(part, decl), first, "declared here first")
            return
        custom = part.standing is Standing.CUSTOM
        if custom and (
            name in self._rules.reserved_messages or (old is not None and old[0].standing is Standing.RESERVED)
        ):
            message = f"`{name}` is a message of {self._rules.reserved_by} and cannot be declared anew"
            related = (Label(_name_span(*old), "declared here"),) if old is not None else ()
            help = "give the message another name"
            self._collector.add(Diagnostic("AM142", message, span=_name_span(part, decl), related=related, help=help))
            return
        if old is not None and part.standing is Standing.FILLING:
            return
        if old is not None and name in self._rules.fixed_messages:
            if custom:
                self._warn(part, decl, f"`{name}` stays as {old[0].owner} declares it: nets are read with it")
            return
        if old is not None and custom and old[0].standing is not Standing.FILLING:
            again = old[0].standing is Standing.CUSTOM and _essence(*old) == _essence(part, decl)
            if not again:
                self._warn(part, decl, f"`{name}` takes the place of the message of that name in {old[0].owner}")
        self.found.definitions[name] = (part, decl)

    def _warn(self, part: ProtoPart, decl: Definition, message: str) -> None:
        self._collector.add(Diagnostic("AM143", message, Level.WARNING, _name_span(part, decl)))

    def _report(self, code: str, message: str, span: Span, other: Span, label: str, help: str | None = None) -> None:
        self._collector.add(Diagnostic(code, message, span=span, related=(Label(other, label),), help=help))

    def _suggestion(self) -> int:
        """A number that nobody has and that was not suggested before."""
        self._suggested += 1
        while self._suggested in self._used:
            self._suggested += 1
        return self._suggested


def _unified_fields(part: ProtoPart, rules: MergeRules, collector: Collector | None = None) -> Iterator[FieldDecl]:
    """The fields of the unified message; a user's file may only have plain optional ones there."""
    custom = part.standing is Standing.CUSTOM
    for message in part.file.messages:
        if message.name != rules.unified:
            continue
        for member in message.members:
            if not isinstance(member, FieldDecl):
                _refuse(part, member.name, f"`{rules.unified}` cannot have a `oneof`", collector)
            elif custom and member.label != "optional" and member.name not in rules.fixed_fields:
                _refuse(part, member.name, f"`{member.name}` must be `optional`", collector)
            else:
                yield member
        for inner in message.definitions if custom else ():
            _refuse(part, inner.name, f"`{inner.name}` cannot be declared inside `{rules.unified}`", collector)


def _refuse(part: ProtoPart, place: Token, message: str, collector: Collector | None) -> None:
    if collector is not None:
        help = "a field there is `optional TYPE NAME = NUMBER;`, and its type is declared at the top of the file"
        collector.add(Diagnostic("AM144", message, span=token_span(part.file.source, place), help=help))


def _number(part: ProtoPart, decl: FieldDecl) -> int | None:
    number = constant_number(part.file.source, Constant((decl.number,)))
    return number if isinstance(number, int) else None


def _used_numbers(parts: Sequence[ProtoPart], rules: MergeRules) -> set[int]:
    numbers = (_number(part, decl) for part in parts for decl in _unified_fields(part, rules))
    return {number for number in numbers if number is not None}


def _name_span(part: ProtoPart, decl: Definition) -> Span:
    return token_span(part.file.source, decl.name)


def _essence(part: ProtoPart, decl: Definition) -> str:
    """A declaration without comments and line breaks."""
    return _BLANKS.sub(" ", part.file.source.text[decl.start : decl.end])


def _splice(parts: Sequence[ProtoPart], found: Found, rules: MergeRules, name: str) -> SplicedText:
    base, *others = parts
    source = base.file.source
    pieces: list[Piece] = []
    done = 0
    for start, end, added in sorted(_edits(base, others, found, rules), key=lambda edit: edit[0]):
        pieces += [copied(source, done, start), *added]
        done = end
    pieces.append(copied(source, done, len(source.text)))
    for part in others:
        for decl in sorted(part.file.definitions, key=lambda decl: decl.start):
            if found.counts(decl):
                start, end = whole_lines(part.file.source, decl.start, decl.end, comments=True)
                pieces.append(Piece("\n", part.file.source, start, made=True))
                pieces.append(copied(part.file.source, start, end))
                if not part.file.source.text[start:end].endswith("\n"):
                    pieces.append(Piece("\n", part.file.source, start, made=True))
    return join(name, pieces)


def _edits(
    base: ProtoPart, others: Sequence[ProtoPart], found: Found, rules: MergeRules
) -> Iterator[tuple[int, int, list[Piece]]]:
    """Which characters of the base are replaced, and by what."""
    source = base.file.source
    for decl in _unified_fields(base, rules):
        entry = found.fields.get(str(decl.name))
        if entry is None or entry.decl is not decl:
            yield *whole_lines(source, decl.start, decl.end, comments=False), []
    for definition in base.file.definitions:
        if definition.name != rules.unified and not found.counts(definition):
            yield *whole_lines(source, definition.start, definition.end, comments=True), []
    added = [
        piece
        for part in others
        for entry in found.fields.values()
        if entry.part is part
        for piece in field_line(part.file.source, entry.decl)
    ]
    block = next(message for message in base.file.messages if message.name == rules.unified)
    brace = block.end - 1
    line_start = source.text.rfind("\n", 0, brace) + 1
    if source.text[line_start:brace].strip():
        added.insert(0, Piece("\n", source, brace, made=True))
        line_start = brace
    yield line_start, line_start, added
