"""A message that fits its schema, with the place of every value: what later stages read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from amctc.source import Span
from amctc.text.bulk import value_type
from amctc.text.literals import as_float32, special_float
from amctc.text.plain import Plain, Symbol
from amctc.text.prototext import TextField, TextMessage, TextScalar

ScalarValue: TypeAlias = bool | int | float | str | bytes
FieldValue: TypeAlias = "ScalarValue | CheckedMessage"


@value_type
class CheckedField:
    """One occurrence of a field. The value of an enum is the name of its value (`Symbol`).

    `span` is the value's place. A `float` field holds the double written shortest among those of
    the same float32.
    """

    name: str
    value: FieldValue
    span: Span = field(repr=False)
    name_span: Span = field(repr=False)
    repeated: bool = False


@value_type
class CheckedMessage:
    """The occurrences of fields in the order written, and those that the schema does not know."""

    descriptor: Descriptor = field(repr=False)
    span: Span = field(repr=False)
    fields: tuple[CheckedField, ...]
    unknown: tuple[TextField, ...] = ()
    _occurrences: Mapping[str, tuple[CheckedField, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_occurrences", _occurrences(self.descriptor, self.fields))

    def has(self, name: str) -> bool:
        """Whether the field is written here and not overruled by a later member of its oneof."""
        return name in self._occurrences

    def field(self, name: str) -> CheckedField | None:
        """The occurrence that counts, which is the last; None where there is none."""
        found = self._occurrences.get(name)
        return found[-1] if found else None

    def value(self, name: str) -> ScalarValue:
        """The value of a single scalar field, or the schema's default where it is absent.

        Raises KeyError for a field that the schema lacks, TypeError for a repeated one or a message.
        """
        descriptor = self._known(name)
        if descriptor.is_repeated or descriptor.message_type is not None:
            raise TypeError(f"`{name}` of `{self.descriptor.full_name}` is not a single scalar")
        found = self.field(name)
        if found is None:
            return default_value(descriptor)
        assert not isinstance(found.value, CheckedMessage)
        return found.value

    def values(self, name: str) -> tuple[ScalarValue, ...]:
        """All values of a scalar field in order. Raises KeyError for a field that the schema lacks."""
        self._known(name)
        found = self._occurrences.get(name, ())
        return tuple(entry.value for entry in found if not isinstance(entry.value, CheckedMessage))

    def occurrences(self, name: str) -> tuple[CheckedField, ...]:
        """All occurrences of a field in order."""
        return self._occurrences.get(name, ())

    def message(self, name: str) -> CheckedMessage | None:
        """The message of a single field, or None; one written in parts is put together, as protobuf does."""
        found = self.messages(name)
        if not found:
            return None
        if len(found) == 1 or self._known(name).is_repeated:
            return found[-1]
        fields = tuple(entry for part in found for entry in part.fields)
        unknown = tuple(entry for part in found for entry in part.unknown)
        return CheckedMessage(found[-1].descriptor, found[-1].span, fields, unknown)

    def messages(self, name: str) -> tuple[CheckedMessage, ...]:
        """All messages of a field in order. Raises KeyError for a field that the schema lacks."""
        found = self._occurrences.get(name)
        if found is None:
            self._known(name)
            return ()
        return tuple([entry.value for entry in found if isinstance(entry.value, CheckedMessage)])

    def _known(self, name: str) -> FieldDescriptor:
        return self.descriptor.fields_by_name[name]


def _occurrences(descriptor: Descriptor, fields: tuple[CheckedField, ...]) -> dict[str, tuple[CheckedField, ...]]:
    """The fields that count by their names: of a oneof, those of the last member."""
    if len(fields) == 1:
        return {fields[0].name: fields}
    has_oneofs = len(descriptor.oneofs) > 0
    if not has_oneofs:
        single: dict[str, tuple[CheckedField, ...]] = {entry.name: (entry,) for entry in fields}
        if len(single) == len(fields):
            return single
    by_name: dict[str, list[CheckedField]] = {}
    for entry in fields:
        oneof = descriptor.fields_by_name[entry.name].containing_oneof if has_oneofs else None
        for other in oneof.fields if oneof is not None else ():
            if other.name != entry.name:
                by_name.pop(other.name, None)
        by_name.setdefault(entry.name, []).append(entry)
    return {name: tuple(found) for name, found in by_name.items()}


def default_value(field: FieldDescriptor) -> ScalarValue:
    """The schema's default of a single scalar field; of an enum, the name of the value."""
    if field.enum_type is not None:
        return Symbol(field.enum_type.values_by_number[int(field.default_value)].name)
    value = field.default_value
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return as_float32(float(value))
    result: ScalarValue = value
    return result


def to_proto(checked: CheckedMessage, message_class: type[Message]) -> Message:
    """A protobuf message of the class, which must be of the descriptor checked against.

    What the schema does not know is left out: a message class cannot hold it.
    """
    message = message_class()
    _fill(checked, message)
    return message


def _fill(checked: CheckedMessage, message: Message) -> None:
    for entry in checked.fields:
        descriptor = checked.descriptor.fields_by_name[entry.name]
        if isinstance(entry.value, CheckedMessage):
            if _is_map(descriptor):
                _fill_map(entry.value, message, entry.name)
            elif entry.repeated:
                _fill(entry.value, getattr(message, entry.name).add())
            else:
                inner = getattr(message, entry.name)
                inner.SetInParent()
                _fill(entry.value, inner)
            continue
        value = entry.value
        if descriptor.enum_type is not None:
            value = descriptor.enum_type.values_by_name[str(value)].number
        if entry.repeated:
            getattr(message, entry.name).append(value)
        else:
            setattr(message, entry.name, value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _fill_map(entry: CheckedMessage, message: Message, name: str) -> None:
    container = getattr(message, name)
    key = entry.value("key")
    value = entry.descriptor.fields_by_name["value"]
    if value.message_type is None:
        scalar = entry.value("value")
        container[key] = scalar if value.enum_type is None else value.enum_type.values_by_name[str(scalar)].number
        return
    container[key].Clear()
    inner = entry.message("value")
    if inner is not None:
        _fill(inner, container[key])


def to_plain(checked: CheckedMessage) -> dict[str, Plain]:
    """What is written, as nested dicts in the order of first mention; defaults are not filled in.

    A repeated field is a tuple, an enum a `Symbol`. Fields that the schema does not know are kept
    under their own names: scalars as written, bare words as `Symbol` (`true` and `false` as bool),
    several occurrences as a tuple.
    """
    first: dict[str, int] = {}
    result: dict[str, Plain] = {}
    for name, found in checked._occurrences.items():  # pyright: ignore[reportPrivateUsage]
        first[name] = found[0].name_span.start
        if not found[0].repeated:
            last = found[-1].value
            merged = checked.message(name)
            if not isinstance(last, CheckedMessage):
                result[name] = last
            elif merged is not None:
                result[name] = to_plain(merged)
            continue
        result[name] = tuple(
            to_plain(entry.value) if isinstance(entry.value, CheckedMessage) else entry.value for entry in found
        )
    for unknown in checked.unknown:
        first.setdefault(unknown.name, unknown.name_span.start)
    result.update(_unknown_plain(checked.unknown))
    return dict(sorted(result.items(), key=lambda item: first[item[0]]))


def text_to_plain(message: TextMessage) -> dict[str, Plain]:
    """A tree without a schema as nested dicts, by the rules for unknown fields in `to_plain`."""
    return _unknown_plain(message.fields)


def _unknown_plain(fields: tuple[TextField, ...]) -> dict[str, Plain]:
    gathered: dict[str, list[Plain]] = {}
    for entry in fields:
        value = _plain_scalar(entry.value) if isinstance(entry.value, TextScalar) else text_to_plain(entry.value)
        gathered.setdefault(entry.name, []).append(value)
    return {name: values[0] if len(values) == 1 else tuple(values) for name, values in gathered.items()}


def _plain_scalar(scalar: TextScalar) -> Plain:
    value = scalar.value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if not isinstance(value, str):
        return value
    return value == "true" if value in ("true", "false") else Symbol(value)


def identifier_of(scalar: TextScalar) -> str | None:
    """The bare word of a scalar, also where it is read as a number (`inf`, `nan`); None for no word."""
    if isinstance(scalar.value, str):
        return scalar.value
    word = scalar.span.text
    return word if scalar.kind == "float" and special_float(word) is not None else None
