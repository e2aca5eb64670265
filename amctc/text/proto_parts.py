"""The files of a `.proto` merge, and what counts of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from amctc.source import Span
from amctc.text.proto_decls import Definition, FieldDecl, ProtoFile
from amctc.text.syntax import token_span


class Standing(Enum):
    """What a file may do to the declarations of those before it."""

    BASE = auto()
    """It comes first: its text stays, the others are written into it."""
    FORK = auto()
    """It replaces what it declares anew, without a word."""
    FILLING = auto()
    """It gives what nobody before has declared, and gives way to all who come after."""
    RESERVED = auto()
    """It replaces what it declares anew, and nobody may touch its numbers and names after it."""
    CUSTOM = auto()
    """A user's file: see `amctc.text.proto_merge`."""


@dataclass(frozen=True)
class ProtoPart:
    """One file of a merge; `owner` is what diagnostics call it, such as `ATC's caffe.proto`."""

    file: ProtoFile
    owner: str
    standing: Standing


@dataclass(frozen=True)
class MergeRules:
    """`unified` is the message whose fields come together.

    Nobody may change the `fixed_fields` of it and the `fixed_messages` of the base: readers depend on
    them. `reserved_messages` are names that no user's file may declare; they are those of `reserved_by`.
    """

    unified: str
    fixed_fields: frozenset[str] = frozenset()
    fixed_messages: frozenset[str] = frozenset()
    reserved_messages: frozenset[str] = frozenset()
    reserved_by: str = ""


@dataclass(frozen=True)
class FieldEntry:
    """A field of the unified message, as one file declares it; `number` is None where it is no whole number."""

    part: ProtoPart
    decl: FieldDecl
    number: int | None

    @property
    def name(self) -> str:
        return str(self.decl.name)

    @property
    def span(self) -> Span:
        return token_span(self.part.file.source, self.decl.name)


@dataclass
class Found:
    """What counts so far: the fields of the unified message, and every other message and enum, by name."""

    fields: dict[str, FieldEntry] = field(default_factory=dict)
    definitions: dict[str, tuple[ProtoPart, Definition]] = field(default_factory=dict)
    _by_number: dict[int, FieldEntry] = field(default_factory=dict)

    def with_number(self, number: int | None) -> FieldEntry | None:
        """The field of that number, if there is one."""
        return self._by_number.get(number) if number is not None else None

    def put(self, entry: FieldEntry) -> None:
        """Let a field count, in place of any other of its name."""
        self.drop(entry.name)
        self.fields[entry.name] = entry
        if entry.number is not None:
            self._by_number[entry.number] = entry

    def drop(self, name: str) -> None:
        """Let the field of that name count no more, if there is one."""
        entry = self.fields.pop(name, None)
        if entry is not None and entry.number is not None:
            del self._by_number[entry.number]

    def counts(self, decl: Definition) -> bool:
        """Whether it is this declaration of its name that counts."""
        found = self.definitions.get(str(decl.name))
        return found is not None and found[1] is decl
