"""The protobuf text format: text to a tree that keeps every position, and back.

The tree knows no schema: `amctc.text.schema_check` gives it types. Equality of trees is equality up
to positions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer

from amctc.diagnostics import DiagnosticError, error
from amctc.source import SourceFile
from amctc.text.literals import decode_strings, float_text, parse_number, quote, special_float
from amctc.text.prototext_scan import scan
from amctc.text.prototext_tree import TextField, TextMessage, TextScalar
from amctc.text.syntax import (
    Complaint,
    Language,
    build_parser,
    check_length,
    expect,
    name_character,
    punctuation,
    run_parser,
    token_end,
    token_span,
    token_start,
    word_end,
)


def parse_prototext(source: SourceFile) -> TextMessage:
    """The tree of a text: scanned where it is plain, else parsed by the grammar, which gives the same tree.

    Raises `DiagnosticError`: AM101 for a syntax error, AM102 or AM103 beyond the limits of
    `amctc.text.syntax`, AM104 for a malformed number or string.
    """
    check_length(source)
    return scan(source) or parse_by_grammar(source)


def parse_by_grammar(source: SourceFile) -> TextMessage:
    """What `parse_prototext` does, by `grammar/prototext.lark` alone."""
    raw: list[_RawField] = run_parser(_parser(), _LANGUAGE, source)
    return TextMessage(tuple(_fields(source, raw)), source.span(0, len(source.text)))


def print_prototext(message: TextMessage, indent: int = 0) -> str:
    """The text of a tree, two spaces a level, one field a line; parsing it gives an equal tree."""
    lines: list[str] = []
    _print_fields(message, "  " * indent, lines)
    return "".join(f"{line}\n" for line in lines)


def scalar_text(scalar: TextScalar) -> str:
    """A scalar as it is written in the text format."""
    value = scalar.value
    if isinstance(value, bytes):
        return quote(value)
    return float_text(value) if isinstance(value, float) else str(value)


def _print_fields(message: TextMessage, pad: str, lines: list[str]) -> None:
    for entry in message.fields:
        if isinstance(entry.value, TextScalar):
            lines.append(f"{pad}{entry.name}: {scalar_text(entry.value)}")
            continue
        lines.append(f"{pad}{entry.name} {{")
        _print_fields(entry.value, pad + "  ", lines)
        lines.append(f"{pad}}}")


class _RawScalar(NamedTuple):
    tokens: list[Token]


class _RawMessage(NamedTuple):
    opening: Token
    fields: list[_RawField]
    closing: Token


class _RawList(NamedTuple):
    items: list[_RawScalar | _RawMessage]


class _RawField(NamedTuple):
    name: Token
    value: _RawScalar | _RawMessage | _RawList


class _Shapes(Transformer[Any, Any]):
    def start(self, children: list[_RawField]) -> list[_RawField]:
        return children

    def field(self, children: list[Any]) -> _RawField:
        return _RawField(*children)

    def scalar(self, children: list[Token]) -> _RawScalar:
        return _RawScalar(children)

    def message(self, children: list[Any]) -> _RawMessage:
        return _RawMessage(children[0], children[1:-1], children[-1])

    def sequence(self, children: list[Any]) -> _RawList:
        return _RawList(children[1:-1])


def _fields(source: SourceFile, raw: list[_RawField]) -> Iterator[TextField]:
    for name, value in raw:
        word = str(name) if name.type == "NAME" else "[" + str(name)[1:-1].strip() + "]"
        name_span = token_span(source, name)
        if isinstance(value, _RawList):
            for item in value.items:
                built = _value(source, item)
                yield TextField(word, name_span, built, source.span(name_span.start, built.span.end))
            continue
        built = _value(source, value)
        yield TextField(word, name_span, built, source.span(name_span.start, built.span.end))


def _value(source: SourceFile, raw: _RawScalar | _RawMessage) -> TextScalar | TextMessage:
    if isinstance(raw, _RawMessage):
        span = source.span(token_start(raw.opening), token_end(raw.closing))
        return TextMessage(tuple(_fields(source, raw.fields)), span)
    tokens = raw.tokens
    first, last = tokens[0], tokens[-1]
    span = source.span(token_start(first), token_end(last))
    if first.type == "STRING":
        return TextScalar("string", decode_strings(source, tokens), span)
    negative = first.type == "MINUS"
    if last.type == "NUMBER":
        number = parse_number(source, last, negative)
        return TextScalar("float" if isinstance(number, float) else "int", number, span)
    special = special_float(str(last))
    if special is not None:
        return TextScalar("float", -special if negative else special, span)
    if negative:
        raise error("AM104", f"`-` must stand before a number, not before `{last}`", span)
    return TextScalar("identifier", str(last), span)


_MEANT = {
    **dict(zip("=：，；｛｝＃", "::,;{}#", strict=True)),
    **dict.fromkeys("“”„«»＂", '"'),
    **dict.fromkeys("‘’＇", "'"),
}
"""What is meant by signs that other languages, keyboards and word processors put in place of ours."""


def _bad_character(text: str, at: int) -> Complaint:
    char = text[at]
    if char in "\"'":
        end = text.find("\n", at)
        end = end if end >= 0 else len(text)
        return Complaint("a string is not closed on its line", end, f"end it with {char}")
    if char.isascii() and (char.isdigit() or char == "."):
        end = word_end(text, at)
        return Complaint(f"`{text[at : min(end, at + 40)]}` is not a number", end)
    if char == "/":
        return Complaint("unexpected character `/`", at + 1, "comments begin with `#`")
    meant = _MEANT.get(char)
    help = f"write `{meant}`" if meant is not None else None
    return Complaint(f"unexpected character {name_character(text, at)}", at + 1, help)


def _bad_token(source: SourceFile, token: Token, accepted: Collection[str]) -> DiagnosticError | None:
    if token.type == "NAME" and "_COLON" in accepted:
        return error(
            "AM101",
            f"expected `:` or `{{` after a field name, found `{token}`",
            token_span(source, token),
            label="expected `:` or `{`",
        )
    return None


_VALUE_STARTS = ("NUMBER", "STRING", "NAME", "LBRACE", "LANGLE", "LSQUARE")
_LANGUAGE = Language(
    name="prototext",
    grammar="prototext",
    transformer=_Shapes,
    openers=frozenset({"LBRACE", "LANGLE", "LSQUARE"}),
    closers=frozenset({"RBRACE", "RANGLE", "RSQUARE"}),
    expectations=(
        expect("MINUS", "a value", *_VALUE_STARTS, "RSQUARE"),
        expect("NUMBER", "a number", "NAME"),
        expect("STRING", ""),
        expect("_COLON", "`:` or `{`", "LBRACE", "LANGLE", "LSQUARE"),
        expect("_SEMICOLON", "", "_COMMA"),
        expect("NAME", "a field name", "EXTENSION_NAME"),
        expect("LBRACE", "a message in `{ }`", "LANGLE"),
        *punctuation({"_COMMA": ",", "RBRACE": "}", "RANGLE": ">", "RSQUARE": "]"}),
        expect("$END", "the end of the file"),
    ),
    brackets=re.compile(r""""[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'|#[^\n]*|[{}<>\[\]]"""),
    bad_character=_bad_character,
    bad_token=_bad_token,
)


@cache
def _parser() -> Lark:
    return build_parser(_LANGUAGE)


__all__ = [
    "TextField",
    "TextMessage",
    "TextScalar",
    "parse_by_grammar",
    "parse_prototext",
    "print_prototext",
    "scalar_text",
]
