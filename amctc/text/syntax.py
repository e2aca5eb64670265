"""What the grammars share: building a parser, bounding the nesting, and telling a syntax error.

A reader hands its raw shapes on, built by a lark transformer while it parses; spans are made from
token offsets afterwards, so that one parser, built once, serves every source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from lark.lark import PostLex

from amctc.diagnostics import DiagnosticError, Label, error
from amctc.source import SourceFile, Span
from amctc.text.parsers import parser_of

MAX_TEXT_LENGTH = 64 * 1024 * 1024
MAX_DEPTH = 64

_CLOSED_BY = {"{": "}", "[": "]", "<": ">", "(": ")"}


@dataclass(frozen=True)
class Expectation:
    """Plain words for what may come next, said when `trigger` is among the accepted terminals.

    `covers` are the terminals these words speak for; empty words say nothing about them.
    """

    trigger: str
    covers: frozenset[str]
    words: str


@dataclass(frozen=True)
class Complaint:
    """What is wrong with characters that no terminal begins with: where they end, and what to do."""

    message: str
    end: int
    help: str | None = None


@dataclass(frozen=True)
class Language:
    """One grammar with the words its errors are told in.

    `brackets` is a pattern of what opens or closes a bracket, and of all that may hold a bracket
    without meaning it (strings and comments). `bad_character` explains a character no terminal
    begins with. `bad_token` may explain an unexpected token better than the list of what is accepted.
    """

    name: str
    grammar: str
    transformer: Callable[[], Transformer[Any, Any]]
    openers: frozenset[str]
    closers: frozenset[str]
    expectations: tuple[Expectation, ...]
    brackets: re.Pattern[str]
    bad_character: Callable[[str, int], Complaint]
    bad_token: Callable[[SourceFile, Token, Collection[str]], DiagnosticError | None] | None = None


class TooDeepError(Exception):
    """Raised inside a parse by the token that opens one level too many."""

    def __init__(self, token: Token) -> None:
        self.token = token
        super().__init__(token)


class DepthGuard(PostLex):
    """Counts open brackets in the token stream, so that a hostile file cannot nest without end."""

    always_accept = ()

    def __init__(self, openers: frozenset[str], closers: frozenset[str]) -> None:
        self.openers = openers
        self.closers = closers

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            if token.type in self.openers:
                depth += 1
                if depth > MAX_DEPTH:
                    raise TooDeepError(token)
            elif token.type in self.closers:
                depth -= 1
            yield token


def build_parser(language: Language) -> Lark:
    """The parser of a language, made anew, so cache it."""
    guard = DepthGuard(language.openers, language.closers)
    return parser_of(language.grammar, transformer=language.transformer(), postlex=guard)


def run_parser(parser: Lark, language: Language, source: SourceFile) -> Any:
    """What the language's transformer makes of a text.

    Raises `DiagnosticError`: AM101 for a syntax error, AM102 for a text over `MAX_TEXT_LENGTH`
    characters, AM103 for nesting over `MAX_DEPTH`, AM104 for a malformed number or string.
    """
    check_length(source)
    try:
        return parser.parse(source.text)  # pyright: ignore[reportUnknownMemberType]  # lark leaves it open
    except TooDeepError as problem:
        raise error("AM103", f"nesting is deeper than {MAX_DEPTH} levels", token_span(source, problem.token)) from None
    except UnexpectedToken as problem:
        token: Token = problem.token  # pyright: ignore[reportUnknownMemberType]
        accepted = problem.accepts or problem.expected or set()
        raise _unexpected_token(language, source, token, accepted) from None
    except UnexpectedCharacters as problem:
        place: int | None = problem.pos_in_stream  # pyright: ignore[reportUnknownMemberType]
        at = place or 0
        complaint = language.bad_character(source.text, at)
        span = source.span(at, complaint.end)
        raise error("AM101", complaint.message, span, help=complaint.help) from None


def check_length(source: SourceFile) -> None:
    """Raise `DiagnosticError` (AM102) for a text over `MAX_TEXT_LENGTH` characters."""
    if len(source.text) > MAX_TEXT_LENGTH:
        message = f"the text has {len(source.text)} characters; at most {MAX_TEXT_LENGTH} are read"
        raise error("AM102", message, file=source.name)


def token_span(source: SourceFile, token: Token) -> Span:
    """The characters of a token."""
    return source.span(token_start(token), token_end(token))


def token_start(token: Token) -> int:
    """Offset of the first character of a token."""
    return token.start_pos if token.start_pos is not None else 0


def token_end(token: Token) -> int:
    """Offset after the last character of a token."""
    return token.end_pos if token.end_pos is not None else 0


def name_character(text: str, at: int) -> str:
    """A character as shown in a message; one that cannot be seen, or looks like ASCII, with its code."""
    char = text[at]
    if char.isascii() and char.isprintable():
        return f"`{char}`"
    shown = f"`{char}` " if char.isprintable() and not char.isspace() else ""
    return f"{shown}(U+{ord(char):04X})".strip()


def word_end(text: str, at: int) -> int:
    """Where the run of letters, digits, points and signs that starts at `at` ends."""
    match = re.compile(r"[A-Za-z0-9_.+\-]+").match(text, at)
    return match.end() if match else at + 1


def _unexpected_token(
    language: Language, source: SourceFile, token: Token, accepted: Collection[str]
) -> DiagnosticError:
    better = language.bad_token(source, token, accepted) if language.bad_token is not None else None
    if better is not None:
        return better
    expected = _in_words(language.expectations, accepted)
    if token.type == "$END":
        return _unexpected_end(language, source, expected)
    span = token_span(source, token)
    open_brackets = _open_brackets(language, source, span.start)
    if str(token) in _CLOSED_BY.values():
        if not open_brackets:
            return error("AM101", f"`{token}` closes nothing", span, label="nothing is open here")
        closing = _CLOSED_BY[source.text[open_brackets[-1]]]
        if closing != str(token):
            return error(
                "AM101",
                f"expected {expected}, found `{token}`",
                span,
                related=(_opened(source, open_brackets[-1]),),
            )
    return error("AM101", f"expected {expected}, found `{_clip(token)}`", span, label=f"expected {expected}")


def _unexpected_end(language: Language, source: SourceFile, expected: str) -> DiagnosticError:
    end = len(source.text.rstrip())
    span = source.span(end, end)
    open_brackets = _open_brackets(language, source, len(source.text))
    if not open_brackets:
        return error("AM101", f"expected {expected}, found the end of the file", span)
    start = open_brackets[-1]
    closing = _CLOSED_BY[source.text[start]]
    return error(
        "AM101",
        f"`{closing}` is missing at the end of the file",
        span,
        label=f"expected {expected}",
        related=(_opened(source, start),),
        help=f"close what line {source.position(start)[0]} opens",
    )


def _opened(source: SourceFile, start: int) -> Label:
    return Label(source.span(start, start + 1), f"this `{source.text[start]}` is still open")


def _open_brackets(language: Language, source: SourceFile, end: int) -> list[int]:
    """Offsets of the brackets that are open just before `end`."""
    stack: list[int] = []
    for match in language.brackets.finditer(source.text, 0, end):
        bracket = match[0]
        if bracket in _CLOSED_BY:
            stack.append(match.start())
        elif stack and bracket == _CLOSED_BY[source.text[stack[-1]]]:
            stack.pop()
    return stack


def _in_words(expectations: tuple[Expectation, ...], accepted: Collection[str]) -> str:
    left = set(accepted)
    words: list[str] = []
    for expectation in expectations:
        if expectation.trigger not in left:
            continue
        left -= expectation.covers | {expectation.trigger}
        if expectation.words:
            words.append(expectation.words)
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _clip(token: str) -> str:
    line = token.split("\n", 1)[0]
    return line if len(line) <= 40 else f"{line[:37]}..."


def expect(trigger: str, words: str, *covers: str) -> Expectation:
    """An `Expectation`, written short."""
    return Expectation(trigger, frozenset(covers), words)


def punctuation(names: Mapping[str, str]) -> tuple[Expectation, ...]:
    """Expectations for terminals that stand for one fixed sign."""
    return tuple(expect(terminal, f"`{sign}`") for terminal, sign in names.items())
