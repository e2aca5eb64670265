"""`.proto` text to declarations: what is written, before any name is looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from lark import Lark, Token, Transformer

from amctc.diagnostics import error
from amctc.source import SourceFile
from amctc.text.literals import decode_strings, parse_number
from amctc.text.proto_decls import (
    Constant,
    EnumDecl,
    EnumValueDecl,
    FieldDecl,
    MessageDecl,
    OneofDecl,
    OptionDecl,
    ProtoFile,
    Range,
    ReservedDecl,
)
from amctc.text.syntax import (
    Complaint,
    Language,
    build_parser,
    expect,
    name_character,
    punctuation,
    run_parser,
    token_end,
    token_span,
    token_start,
    word_end,
)

_T = TypeVar("_T")


def parse_proto(source: SourceFile) -> ProtoFile:
    """The declarations of a `.proto` text.

    Raises `DiagnosticError`: AM101 for a syntax error, AM102 and AM103 beyond the limits, AM120 for
    a syntax other than proto2 and proto3.
    """
    items: list[Any] = run_parser(_parser(), _LANGUAGE, source)
    syntax = "proto2"
    packages: list[str] = []
    imports: list[Token] = []
    for item in items:
        if isinstance(item, _Syntax):
            syntax = decode_strings(source, [item.token]).decode()
            if syntax not in ("proto2", "proto3"):
                raise error("AM120", f"the syntax `{syntax}` is not known", token_span(source, item.token),
                            help="write `proto2` or `proto3`")  # fmt: skip
        elif isinstance(item, _Package):
            packages.append(str(item.name))
        elif isinstance(item, _Import):
            imports.append(item.token)
    return ProtoFile(
        source,
        syntax,
        packages[-1] if packages else "",
        tuple(imports),
        _only(MessageDecl, items),
        _only(EnumDecl, items),
    )


def constant_number(source: SourceFile, constant: Constant) -> int | float | None:
    """The number of a constant, or None where it is a word or a string."""
    last = constant.tokens[-1]
    if last.type != "NUMBER":
        return None
    return parse_number(source, last, negative=constant.tokens[0].type == "MINUS")


def constant_text(constant: Constant) -> str:
    """A constant that is a word, with its sign."""
    return "".join(str(token) for token in constant.tokens)


@dataclass(frozen=True)
class _Syntax:
    token: Token


@dataclass(frozen=True)
class _Package:
    name: Token


@dataclass(frozen=True)
class _Import:
    token: Token


def _only(kind: type[_T], items: list[Any]) -> tuple[_T, ...]:
    return tuple(item for item in items if isinstance(item, kind))


def _join(tokens: list[Token]) -> Token:
    """Neighbouring tokens as one, from the first to the last."""
    first = tokens[0]
    text = "".join(str(token) for token in tokens)
    return Token("NAME", text, start_pos=first.start_pos, end_pos=tokens[-1].end_pos)


class _Shapes(Transformer[Any, Any]):
    def start(self, children: list[Any]) -> list[Any]:
        return children

    def syntax(self, children: list[Any]) -> _Syntax:
        return _Syntax(children[0])

    def package(self, children: list[Any]) -> _Package:
        return _Package(children[0])

    def import_file(self, children: list[Any]) -> _Import:
        return _Import(children[-1])

    def label(self, children: list[Token]) -> Token:
        return children[0]

    def type_name(self, children: list[Token]) -> Token:
        return _join(children)

    def option_name(self, children: list[Any]) -> str:
        return "".join(str(child) for child in children)

    def constant(self, children: list[Token]) -> Constant:
        return Constant(tuple(children))

    def assignment(self, children: list[Any]) -> OptionDecl:
        return OptionDecl(*children)

    def option(self, children: list[Any]) -> OptionDecl:
        decl: OptionDecl = children[0]
        return decl

    def field_options(self, children: list[Any]) -> tuple[OptionDecl, ...]:
        return tuple(children)

    def field(self, children: list[Any]) -> FieldDecl:
        start, end = token_start(children[0]), token_end(children[-1])
        # The tokens of a type's name have been joined into one NAME.
        label = None if children[0].type == "NAME" else str(children.pop(0))
        options = children[3] if len(children) > 4 else ()
        return FieldDecl(label, children[0], children[1], children[2], options, start, end)

    def map_field(self, children: list[Any]) -> FieldDecl:
        start, end = token_start(children[0]), token_end(children[-1])
        key, value, name, number, *options = children[1:-1]
        return FieldDecl("repeated", value, name, number, options[0] if options else (), start, end, map_key=key)

    def oneof(self, children: list[Any]) -> OneofDecl:
        return OneofDecl(children[0], _only(FieldDecl, children))

    def enum_value(self, children: list[Any]) -> EnumValueDecl:
        numbers = [child for child in children[1:] if isinstance(child, Token)]
        return EnumValueDecl(children[0], Constant(tuple(numbers)))

    def enum(self, children: list[Any]) -> EnumDecl:
        first, name, *_, last = children
        values, options = _only(EnumValueDecl, children), _only(OptionDecl, children)
        return EnumDecl(name, values, options, token_start(first), token_end(last))

    def range(self, children: list[Token]) -> Range:
        at = next((i for i, token in enumerate(children) if token.type == "TO"), len(children))
        end = Constant(tuple(children[at + 1 :])) if at < len(children) else None
        return Range(Constant(tuple(children[:at])), end)

    def ranges(self, children: list[Any]) -> ReservedDecl:
        return ReservedDecl(ranges=tuple(children))

    def reserved_names(self, children: list[Any]) -> ReservedDecl:
        return ReservedDecl(ranges=(), names=tuple(children))

    def reserved(self, children: list[Any]) -> ReservedDecl:
        decl: ReservedDecl = children[0]
        return decl

    def extensions(self, children: list[Any]) -> ReservedDecl:
        return ReservedDecl(ranges=children[0].ranges, extensible=True)

    def message(self, children: list[Any]) -> MessageDecl:
        members = tuple(child for child in children if isinstance(child, FieldDecl | OneofDecl))
        return MessageDecl(
            children[1],
            members,
            _only(MessageDecl, children),
            _only(EnumDecl, children),
            _only(ReservedDecl, children),
            token_start(children[0]),
            token_end(children[-1]),
        )


def _bad_character(text: str, at: int) -> Complaint:
    char = text[at]
    if char in "\"'":
        end = text.find("\n", at)
        return Complaint("a string is not closed on its line", end if end >= 0 else len(text), f"end it with {char}")
    if text.startswith("/*", at):
        return Complaint("a comment is not closed", at + 2, "end it with `*/`")
    if char.isascii() and (char.isdigit() or char == "."):
        end = word_end(text, at)
        return Complaint(f"`{text[at : min(end, at + 40)]}` is not a number", end)
    help = "comments begin with `//`" if char == "#" else None
    return Complaint(f"unexpected character {name_character(text, at)}", at + 1, help)


_LANGUAGE = Language(
    name="proto",
    grammar="proto2",
    transformer=_Shapes,
    openers=frozenset({"LBRACE"}),
    closers=frozenset({"RBRACE"}),
    expectations=(
        expect("SYNTAX", "", "SEMICOLON"),
        expect("OPTIONAL", "a field", "REQUIRED", "REPEATED", "NAME", "DOT", "MAP", "SEMICOLON"),
        expect("ONEOF", "", "RESERVED", "EXTENSIONS"),
        expect("PACKAGE", "`package`", "IMPORT", "SEMICOLON"),
        expect("MESSAGE", "`message`"),
        expect("ENUM", "`enum`"),
        expect("OPTION", "`option`"),
        expect("STRING", "a value", "NUMBER", "MINUS", "NAME"),
        expect("NUMBER", "a number", "MINUS", "MAX"),
        expect("NAME", "a name", "DOT", "SEMICOLON"),
        *punctuation({"LBRACE": "{", "RBRACE": "}", "LSQB": "[", "RSQB": "]", "EQUAL": "=", "SEMICOLON": ";"}),
        *punctuation(
            {"COMMA": ",", "DOT": ".", "TO": "to", "LESSTHAN": "<", "MORETHAN": ">", "LPAR": "(", "RPAR": ")"}
        ),
        expect("$END", "the end of the file"),
    ),
    brackets=re.compile(
        r""""[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'|//[^\n]*|/\*.*?\*/|[{}]""",
        re.DOTALL,
    ),
    bad_character=_bad_character,
)


@cache
def _parser() -> Lark:
    return build_parser(_LANGUAGE)
