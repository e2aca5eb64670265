"""Checks a text tree against a message descriptor, and tells all that does not fit at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from amctc.diagnostics import Collector, Diagnostic, Label, Level, did_you_mean
from amctc.source import Span
from amctc.text.checked import CheckedField, CheckedMessage, FieldValue, identifier_of
from amctc.text.field_values import INTEGER_RANGES, ReadValue, value_reader
from amctc.text.plain import Symbol
from amctc.text.prototext import TextField, TextMessage, TextScalar

UnknownFields = Literal["error", "keep"]
UnknownHint: TypeAlias = Callable[[Descriptor, str], str | None]
"""What to say of a field (by its name) that a message lacks."""

_MOST_SUGGESTIONS = 50  # finding the nearest name is slow in a file where every field is wrong

_WANTED = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_BOOL: "`true` or `false`",
    FieldDescriptor.CPPTYPE_STRING: "a string in quotes",
}
_FOUND = {
    "int": "a whole number",
    "float": "a number with a fraction",
    "string": "a string",
    "identifier": "a word",
}


def check_message(
    tree: TextMessage,
    descriptor: Descriptor,
    collector: Collector,
    *,
    unknown_fields: UnknownFields,
    code: str = "AM11",
    oneof_code: str | None = None,
    hint: UnknownHint | None = None,
) -> CheckedMessage:
    """The typed view of a tree; everything that does not fit goes to the collector and is left out.

    `code` is put before the digit of each finding: 0 unknown field, 1 wrong type, 2 out of range,
    3 unknown enum value, 4 missing required field, 5 (a warning) two members of one oneof, for which
    `oneof_code` stands instead where it is given. With `unknown_fields="keep"` fields that the schema
    lacks are kept without a word; `hint` may know more of one than the nearest name.
    """
    checker = _Checker(collector, unknown_fields, code, oneof_code or f"{code}5", hint)
    return checker.message(tree, descriptor)


class _Field(NamedTuple):
    """What is asked of a field for every value of it: a message, a word of an enum, or a scalar that `read` takes."""

    descriptor: FieldDescriptor
    repeated: bool
    message: Descriptor | None
    enum: EnumDescriptor | None
    read: ReadValue


class _Facts(NamedTuple):
    """What is asked of a descriptor for every message of it; `oneofs` are those of several members."""

    fields: Mapping[str, _Field]
    required: tuple[str, ...]
    oneofs: tuple[list[str], ...]


def _facts(descriptor: Descriptor) -> _Facts:
    required = tuple(field.name for field in descriptor.fields if field.is_required)
    oneofs = ([field.name for field in oneof.fields] for oneof in descriptor.oneofs)
    fields = {
        field.name: _Field(field, field.is_repeated, field.message_type, field.enum_type, value_reader(field))
        for field in descriptor.fields
    }
    return _Facts(fields, required, tuple(members for members in oneofs if len(members) > 1))


class _Checker:
    def __init__(
        self,
        collector: Collector,
        unknown_fields: UnknownFields,
        code: str,
        oneof_code: str,
        hint: UnknownHint | None,
    ) -> None:
        self._collector = collector
        self._unknown_fields = unknown_fields
        self._code = code
        self._oneof_code = oneof_code
        self._hint = hint
        self._suggestions = 0
        self._facts: dict[str, _Facts] = {}

    def message(self, tree: TextMessage, descriptor: Descriptor, name: str | None = None) -> CheckedMessage:
        """The view of one message; `name` is that of the field it stands in, None for the root."""
        called = name or descriptor.name
        facts = self._facts.get(descriptor.full_name)
        if facts is None:
            facts = self._facts[descriptor.full_name] = _facts(descriptor)
        known = facts.fields
        fields: list[CheckedField] = []
        unknown: list[TextField] = []
        for entry in tree.fields:
            name = entry.name
            field = known.get(name)
            if field is None:
                unknown.append(entry)
                self._unknown(entry, descriptor, called)
                continue
            value = self._value(entry, field)
            if value is not None:
                fields.append(CheckedField(name, value, entry.value.span, entry.name_span, field.repeated))
        if facts.required:
            self._required(tree, facts, called)
        if len(fields) > 1:
            self._oneofs(fields, facts)
        return CheckedMessage(descriptor, tree.span, tuple(fields), tuple(unknown))

    def _unknown(self, entry: TextField, descriptor: Descriptor, called: str) -> None:
        if self._unknown_fields == "keep":
            return
        self._suggestions += 1
        help = self._suggestion(descriptor, entry.name) if self._suggestions <= _MOST_SUGGESTIONS else None
        self._report(0, f"`{called}` has no field `{entry.name}`", entry.name_span, help=help)

    def _suggestion(self, descriptor: Descriptor, name: str) -> str | None:
        help = self._hint(descriptor, name) if self._hint is not None else None
        help = help or did_you_mean(name, descriptor.fields_by_name)
        if help is None and len(descriptor.fields_by_name) <= 12:
            help = "it has " + ", ".join(f"`{known}`" for known in descriptor.fields_by_name)
        return help

    def _required(self, tree: TextMessage, facts: _Facts, called: str) -> None:
        written = {entry.name for entry in tree.fields}
        for name in facts.required:
            if name not in written:
                self._report(
                    4,
                    f"`{called}` needs a field `{name}`",
                    Span(tree.span.source, tree.span.start, min(tree.span.start + 1, tree.span.end)),
                    label=f"`{name}` is missing here",
                )

    def _oneofs(self, fields: list[CheckedField], facts: _Facts) -> None:
        for members in facts.oneofs:
            self._oneof([entry for entry in fields if entry.name in members], members)
        if len({entry.name for entry in fields}) == len(fields):
            return
        # A message written in parts is put together, so that its oneofs may meet only then.
        parts: dict[str, list[CheckedMessage]] = {}
        for entry in fields:
            if not entry.repeated and isinstance(entry.value, CheckedMessage):
                parts.setdefault(entry.name, []).append(entry.value)
        for found in parts.values():
            if len(found) > 1:
                self._parts(found)

    def _parts(self, found: list[CheckedMessage]) -> None:
        for oneof in found[0].descriptor.oneofs:
            members = [field.name for field in oneof.fields]
            told = [[entry for entry in message.fields if entry.name in members] for message in found]
            ends = [entries for entries in told if entries]
            for before, after in pairwise(ends):
                self._oneof([before[-1], after[0]], members)

    def _oneof(self, fields: list[CheckedField], members: list[str]) -> None:
        for last, entry in pairwise(fields):
            if last.name == entry.name:
                continue
            lines = entry.name_span.line, last.name_span.line
            message = f"`{entry.name}` on line {lines[0]} overrules `{last.name}` on line {lines[1]}"
            if lines[0] == lines[1]:
                message = f"`{entry.name}` overrules `{last.name}` before it on line {lines[0]}"
            names = ", ".join(f"`{name}`" for name in members)
            self._collector.add(
                Diagnostic(
                    self._oneof_code,
                    message,
                    Level.WARNING,
                    entry.name_span,
                    related=(Label(last.name_span, "this is ignored"),),
                    help=f"keep one of them: only one of {names} can hold",
                )
            )

    def _value(self, entry: TextField, field: _Field) -> FieldValue | None:
        value = entry.value
        if field.message is not None:
            if isinstance(value, TextMessage):
                return self.message(value, field.message, entry.name)
            self._report(
                1,
                f"`{entry.name}` is a message, so it needs `{{ }}`, but {_FOUND[value.kind]} was found",
                value.span,
                help=f"write `{entry.name} {{ ... }}`",
            )
            return None
        if isinstance(value, TextMessage):
            wanted = "one value of its enum" if field.enum is not None else _WANTED[field.descriptor.cpp_type]
            brace = Span(value.span.source, value.span.start, value.span.start + 1)
            self._report(1, f"`{entry.name}` must be {wanted}, but a message in braces was found", brace)
            return None
        if field.enum is not None:
            return self._enum(entry.name, value, field.enum)
        read = field.read(value)
        if read is None:
            self._misfit(entry.name, value, field.descriptor)
        return read

    def _enum(self, name: str, scalar: TextScalar, enum: EnumDescriptor) -> Symbol | None:
        if scalar.kind == "int":
            known = enum.values_by_number.get(int(scalar.value))
            if known is not None:
                return Symbol(known.name)
            numbers = ", ".join(f"{value.number} ({value.name})" for value in enum.values[:20])
            self._report(3, f"{scalar.value!r} is not a value of `{name}`", scalar.span, help=f"one of {numbers}")
            return None
        word = identifier_of(scalar)
        if word is not None and word in enum.values_by_name:
            return Symbol(word)
        names = [value.name for value in enum.values]
        if word is None:
            quoted = scalar.kind == "string" and scalar.value in [n.encode() for n in names]
            help = "write it without quotes" if quoted else _choices(names)
            found = _FOUND[scalar.kind]
            self._report(1, f"`{name}` must be one word of its enum, but {found} was found", scalar.span, help=help)
            return None
        help = did_you_mean(word, names) or did_you_mean(word.upper(), names) or _choices(names)
        self._report(3, f"`{word}` is not a value of `{name}`", scalar.span, help=help)
        return None

    def _misfit(self, name: str, scalar: TextScalar, field: FieldDescriptor) -> None:
        """Tell why a scalar is no value of the field."""
        integer = INTEGER_RANGES.get(field.cpp_type)
        if integer is not None and scalar.kind == "int":
            low, high, kind = integer
            self._report(2, f"{scalar.value!r} is out of range for `{name}`", scalar.span,
                         help=f"{kind} holds {low} to {high}")  # fmt: skip
        elif field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT and scalar.kind in ("int", "float"):
            self._report(2, f"{scalar.value!r} is out of range for `{name}`", scalar.span,
                         help="float holds up to about 3.4e38")  # fmt: skip
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING and scalar.kind == "string":
            self._report(1, f"`{name}` is not valid UTF-8", scalar.span)
        else:
            wanted = _WANTED[field.cpp_type]
            found = f"the word `{scalar.span.text}`" if scalar.kind == "identifier" else _FOUND[scalar.kind]
            help = None
            if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                help = f'write `"{scalar.span.text}"`'
            elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
                help = _truth_meant(scalar.span.text)
            self._report(1, f"`{name}` must be {wanted}, but {found} was found", scalar.span, help=help)

    def _report(
        self,
        digit: int,
        message: str,
        span: Span,
        *,
        label: str = "",
        help: str | None = None,
    ) -> None:
        self._collector.add(Diagnostic(f"{self._code}{digit}", message, span=span, label=label, help=help))


def _truth_meant(word: str) -> str | None:
    """`write `true`` for another word or number that means it."""
    meant = word.strip("\"'").lower()
    if meant in ("true", "yes", "on", "1"):
        return "write `true`"
    return "write `false`" if meant in ("false", "no", "off", "0") else None


def _choices(names: list[str]) -> str:
    more = ", ..." if len(names) > 20 else ""
    return "one of " + ", ".join(f"`{name}`" for name in names[:20]) + more
