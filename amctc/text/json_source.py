"""JSON that keeps the place of every key and value, and accepts nothing but JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label, error
from amctc.source import SourceFile, Span
from amctc.text.json_scan import scan_json
from amctc.text.json_strings import bad_escape, decode_string
from amctc.text.json_tree import JsonArray, JsonMember, JsonNode, JsonObject, JsonScalar
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

MAX_NUMBER_LENGTH = 400


def parse_json(source: SourceFile) -> JsonNode:
    """The tree of a JSON text: scanned where nothing is wrong, else parsed by the grammar, which gives the same tree.

    Raises `DiagnosticError`: AM101 for what is not JSON (comments, trailing commas, single quotes,
    bare words, NaN and Infinity among it), AM102 and AM103 beyond the limits, AM104 for a malformed
    number or string, AM130 for keys that are there twice (all of them).
    """
    check_length(source)
    return scan_json(source) or parse_json_by_grammar(source)


def parse_json_by_grammar(source: SourceFile) -> JsonNode:
    """What `parse_json` does, by `grammar/json.lark` alone."""
    raw = run_parser(_parser(), _LANGUAGE, source)
    collector = Collector()
    node = _build(source, raw, collector)
    collector.raise_errors()
    return node


class _RawMember(NamedTuple):
    key: Token
    value: Any


class _RawObject(NamedTuple):
    opening: Token
    members: list[_RawMember]
    closing: Token


class _RawArray(NamedTuple):
    opening: Token
    items: list[Any]
    closing: Token


class _Shapes(Transformer[Any, Any]):
    def member(self, children: list[Any]) -> _RawMember:
        return _RawMember(*children)

    def object(self, children: list[Any]) -> _RawObject:
        return _RawObject(children[0], children[1:-1], children[-1])

    def array(self, children: list[Any]) -> _RawArray:
        return _RawArray(children[0], children[1:-1], children[-1])

    def scalar(self, children: list[Token]) -> Token:
        return children[0]


def _build(source: SourceFile, raw: Any, collector: Collector) -> JsonNode:
    if isinstance(raw, _RawObject):
        return JsonObject(_members(source, raw.members, collector), _span(source, raw.opening, raw.closing))
    if isinstance(raw, _RawArray):
        items = tuple(_build(source, item, collector) for item in raw.items)
        return JsonArray(items, _span(source, raw.opening, raw.closing))
    token: Token = raw
    span = token_span(source, token)
    if token.type == "STRING":
        return JsonScalar(_string(source, token), span)
    if token.type == "NUMBER":
        return JsonScalar(_number(token, span), span)
    return JsonScalar({"TRUE": True, "FALSE": False, "NULL": None}[token.type], span)


def _members(source: SourceFile, raw: list[_RawMember], collector: Collector) -> tuple[JsonMember, ...]:
    first: dict[str, Span] = {}
    members: list[JsonMember] = []
    for key_token, value in raw:
        key = _string(source, key_token)
        span = token_span(source, key_token)
        if key in first:
            related = (Label(first[key], "the first is here"),)
            collector.add(Diagnostic("AM130", f"the key `{key}` is there twice", span=span, related=related))
        first.setdefault(key, span)
        members.append(JsonMember(key, span, _build(source, value, collector)))
    return tuple(members)


def _span(source: SourceFile, opening: Token, closing: Token) -> Span:
    return source.span(token_start(opening), token_end(closing))


def _string(source: SourceFile, token: Token) -> str:
    text = str(token)
    bad = bad_escape(text)
    if bad is not None:
        start = token_start(token) + bad.start()
        raise error("AM104", f"`{bad[0]}` is not an escape sequence of JSON", source.span(start, start + 2))
    decoded = decode_string(text)
    if decoded is None:
        raise error("AM104", "the string holds half a surrogate pair", token_span(source, token))
    return decoded


def _number(token: Token, span: Span) -> int | float:
    text = str(token)
    if len(text) > MAX_NUMBER_LENGTH:
        raise error("AM104", f"a number may have at most {MAX_NUMBER_LENGTH} characters", span)
    if not any(char in text for char in ".eE"):
        return int(text)
    value = float(text)
    if math.isinf(value):
        raise error("AM104", f"`{text}` is too large for a floating-point number", span)
    return value


_WORDS = {"True": "true", "False": "false", "None": "null", "TRUE": "true", "FALSE": "false", "nil": "null"}


def _bad_character(text: str, at: int) -> Complaint:
    char = text[at]
    if char == "'":
        end = text.find("'", at + 1)
        return Complaint("JSON strings are in double quotes", end + 1 if end >= 0 else at + 1, 'write `"..."`')
    if char == '"':
        line_end = text.find("\n", at)
        end = line_end if line_end >= 0 else len(text)
        return Complaint("a string is not closed, or holds a control character", end, 'end it with `"`')
    if char == "#" or text.startswith(("//", "/*"), at):
        return Complaint("JSON has no comments", at + 1, "take the comment out")
    end = word_end(text, at)
    word = text[at : min(end, at + 40)]
    if word.lstrip("+-").lower() in ("nan", "inf", "infinity"):
        return Complaint(f"JSON has no `{word}`", end)
    if char.isascii() and (char.isdigit() or char in "+-."):
        return Complaint(f"`{word}` is not a JSON number", end)
    if char.isascii() and (char.isalpha() or char == "_"):
        near = _WORDS.get(word)
        help = f"did you mean `{near}`?" if near else "write text in double quotes"
        return Complaint(f"`{word}` is not a JSON value", end, help)
    return Complaint(f"unexpected character {name_character(text, at)}", at + 1)


def _bad_token(source: SourceFile, token: Token, accepted: Collection[str]) -> DiagnosticError | None:
    if str(token) not in ("}", "]"):
        return None
    before = source.text[: token_start(token)].rstrip(" \t\r\n\ufeff")
    if not before.endswith(","):
        return None
    span = source.span(len(before) - 1, len(before))
    return error("AM101", f"a comma before `{token}`", span, help="take the last comma out")


_LANGUAGE = Language(
    name="json",
    grammar="json",
    transformer=_Shapes,
    openers=frozenset({"LBRACE", "LSQUARE"}),
    closers=frozenset({"RBRACE", "RSQUARE"}),
    expectations=(
        expect("NUMBER", "a value", "STRING", "TRUE", "FALSE", "NULL", "LBRACE", "LSQUARE"),
        expect("STRING", "a key in double quotes"),
        *punctuation({"_COLON": ":", "_COMMA": ",", "RBRACE": "}", "RSQUARE": "]"}),
        expect("$END", "the end of the file"),
    ),
    brackets=re.compile(r'"[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*)*"|[{}\[\]]'),
    bad_character=_bad_character,
    bad_token=_bad_token,
)


@cache
def _parser() -> Lark:
    return build_parser(_LANGUAGE)
