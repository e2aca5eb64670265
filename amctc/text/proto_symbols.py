"""The names that a set of `.proto` files declares, and how a name written in one of them is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lark import Token

from amctc.diagnostics import Collector, Diagnostic, Label, did_you_mean
from amctc.source import SourceFile, Span
from amctc.text.proto_decls import EnumDecl, FieldDecl, MessageDecl, OneofDecl, ProtoFile
from amctc.text.syntax import token_span

SCALAR_TYPES = (
    "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes",
    "uint32", "sfixed32", "sfixed64", "sint32", "sint64",
)  # fmt: skip


@dataclass(frozen=True)
class Symbol:
    """A full name without a leading point, what it is, and where it is declared."""

    full_name: str
    kind: Literal["message", "enum", "member"]
    span: Span
    enum: EnumDecl | None = None


class SymbolTable:
    """Every message, enum, enum value, field and oneof by full name; a name told twice is reported."""

    def __init__(self, files: Sequence[ProtoFile], collector: Collector) -> None:
        self._symbols: dict[str, Symbol] = {}
        self._collector = collector
        for file in files:
            self._declare(file.source, file.package, file.messages, file.enums)

    def find(self, written: Token, scope: str, source: SourceFile) -> Symbol | None:
        """The message or enum that a type's name means inside `scope`, innermost first; reports none."""
        name = str(written)
        if name.startswith("."):
            candidates = [name[1:]]
        else:
            parts = scope.split(".") if scope else []
            candidates = [".".join([*parts[:n], name]) for n in range(len(parts), -1, -1)]
        for candidate in candidates:
            symbol = self._symbols.get(candidate)
            if symbol is not None and symbol.kind != "member":
                return symbol
        types = [s.full_name.rsplit(".", 1)[-1] for s in self._symbols.values() if s.kind != "member"]
        self._collector.add(
            Diagnostic(
                "AM121",
                f"unknown type `{name}`",
                span=token_span(source, written),
                help=did_you_mean(name, [*types, *SCALAR_TYPES]),
            )
        )
        return None

    def _declare(
        self,
        source: SourceFile,
        scope: str,
        messages: tuple[MessageDecl, ...],
        enums: tuple[EnumDecl, ...],
    ) -> None:
        for enum in enums:
            self._add(scope, enum.name, Symbol("", "enum", token_span(source, enum.name), enum))
            # The values of an enum are siblings of the enum itself, as in C++.
            for value in enum.values:
                self._add(scope, value.name, Symbol("", "member", token_span(source, value.name)))
        for message in messages:
            inner = self._add(scope, message.name, Symbol("", "message", token_span(source, message.name)))
            for member in message.members:
                self._declare_member(source, inner, member)
            self._declare(source, inner, message.messages, message.enums)

    def _declare_member(self, source: SourceFile, scope: str, member: FieldDecl | OneofDecl) -> None:
        self._add(scope, member.name, Symbol("", "member", token_span(source, member.name)))
        if isinstance(member, OneofDecl):
            for inner in member.fields:
                self._declare_member(source, scope, inner)

    def _add(self, scope: str, name: Token, symbol: Symbol) -> str:
        full_name = f"{scope}.{name}" if scope else str(name)
        first = self._symbols.get(full_name)
        if first is not None:
            self._collector.add(
                Diagnostic(
                    "AM122",
                    f"`{full_name}` is declared twice",
                    span=symbol.span,
                    related=(Label(first.span, "declared here first"),),
                )
            )
            return full_name
        self._symbols[full_name] = Symbol(full_name, symbol.kind, symbol.span, symbol.enum)
        return full_name
