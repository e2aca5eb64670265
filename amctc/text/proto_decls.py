"""What a `.proto` file declares, as written, with the places of names and of whole declarations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lark import Token

from amctc.source import SourceFile


@dataclass(frozen=True)
class Constant:
    """The tokens of an option's value: `-` and a number or word, or neighbouring strings."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class OptionDecl:
    """`name = constant`; a name in parentheses or with points is kept as written."""

    name: str
    value: Constant


@dataclass(frozen=True)
class FieldDecl:
    """A field of a message or of a oneof; `map_key` is the key's type where it is a map.

    `start` and `end` (excluded) are the offsets of the whole declaration, with its `;`.
    """

    label: str | None
    type_name: Token
    name: Token
    number: Token
    options: tuple[OptionDecl, ...]
    start: int
    end: int
    map_key: Token | None = None


@dataclass(frozen=True)
class OneofDecl:
    name: Token
    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True)
class EnumValueDecl:
    name: Token
    number: Constant


@dataclass(frozen=True)
class Range:
    """Numbers set aside, both ends included."""

    start: Constant
    end: Constant | None


@dataclass(frozen=True)
class ReservedDecl:
    """`reserved`, or `extensions` where `extensible`; the numbers or names set aside."""

    ranges: tuple[Range, ...]
    names: tuple[Token, ...] = ()
    extensible: bool = False


@dataclass(frozen=True)
class EnumDecl:
    """`start` and `end` (excluded) are the offsets of the whole declaration."""

    name: Token
    values: tuple[EnumValueDecl, ...]
    options: tuple[OptionDecl, ...]
    start: int
    end: int


@dataclass(frozen=True)
class MessageDecl:
    """Members by kind, each kind in the order written; `members` are the fields and oneofs together.

    `start` and `end` (excluded) are the offsets of the whole declaration.
    """

    name: Token
    members: tuple[FieldDecl | OneofDecl, ...]
    messages: tuple[MessageDecl, ...]
    enums: tuple[EnumDecl, ...]
    reserved: tuple[ReservedDecl, ...]
    start: int
    end: int

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """The messages, then the enums, that are declared inside."""
        return (*self.messages, *self.enums)


@dataclass(frozen=True)
class ProtoFile:
    """The declarations of one file; `syntax` is `proto2` or `proto3`."""

    source: SourceFile
    syntax: str
    package: str
    imports: tuple[Token, ...]
    messages: tuple[MessageDecl, ...]
    enums: tuple[EnumDecl, ...]

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """The messages, then the enums, at the top of the file."""
        return (*self.messages, *self.enums)


Definition: TypeAlias = MessageDecl | EnumDecl
