"""What a glob or a regular expression says, as a tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

LONGEST_PATTERN: Final = 200

_DEEPEST = 40  # groups in groups
_REPEAT = re.compile(r"\{(?:(\d{1,4})|(\d{0,4}),(\d{0,4}))\}")
_CLASS_ESCAPES = "dDwWsS"


class PatternError(Exception):
    """The pattern is wrong; the message is a sentence about it."""


@dataclass(frozen=True)
class Atom:
    """One character: a regular expression for it, and the character where there is only one."""

    expression: str
    char: str | None = None


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Choice:
    branches: tuple[Part, ...]


@dataclass(frozen=True)
class Repeat:
    part: Part
    least: int
    most: int | None


Part: TypeAlias = "Atom | Sequence | Choice | Repeat"

_ANY = Atom(".")


def parse_glob(text: str) -> Part:
    """`*` any characters, `/` included; `?` one; `[a-c]` one of them; `[!a-c]` another one.

    Raises `PatternError`.
    """
    _check_length(text)
    parts: list[Part] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            parts.append(Repeat(_ANY, 0, None))
        elif char == "?":
            parts.append(_ANY)
        elif char == "[":
            other = text.startswith("!", at)
            first = at + other
            end = text.find("]", first + 1)
            if end < 0:
                raise PatternError("a `[` is not closed; for the character itself write `[[]`")
            inner = "".join(c if c == "-" else re.escape(c) for c in text[first:end])
            parts.append(Atom(f"[{'^' if other else ''}{inner}]"))
            at = end + 1
        else:
            parts.append(Atom(re.escape(char), char))
    return Sequence(tuple(parts))


def parse_regex(text: str) -> Part:
    """A regular expression in the syntax of Python, without look-around, back references, flags and `\\b`.

    `^` at its begin and `$` at its end may be there. Raises `PatternError`.
    """
    _check_length(text)
    inner = text[1:] if text.startswith("^") else text
    if inner.endswith("$") and not re.search(r"(?<!\\)(?:\\\\)*\\$", inner[:-1]):
        inner = inner[:-1]
    return _Parser(inner).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> Part:
        part = self._choice()
        if self._at < len(self._text):
            raise PatternError("a `)` closes nothing; for the character itself write `\\)`")
        return part

    def _choice(self) -> Part:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Part:
        parts: list[Part] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeats(self._one()))
        return Sequence(tuple(parts))

    def _repeats(self, part: Part) -> Part:
        bounds = self._bounds()
        if bounds is None:
            return part
        self._take("?")  # how much is tried first makes no difference to a whole match
        if self._text.startswith(("*", "+", "?"), self._at) or _REPEAT.match(self._text, self._at):
            raise PatternError("a repetition follows a repetition; put the first one in `( )`")
        least, most = bounds
        if most is not None and most < least:
            raise PatternError(f"`{{{least},{most}}}` ends below its begin")
        return Repeat(part, least, most) if most != 0 else Sequence(())

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        found = _REPEAT.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        exact, least, most = found.groups()
        if exact is not None:
            return int(exact), int(exact)
        return int(least or 0), int(most) if most else None

    def _one(self) -> Part:
        char = self._text[self._at]
        if char in "*+?" or _REPEAT.match(self._text, self._at):
            raise PatternError(f"there is nothing before `{char}` to repeat")
        self._at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return _ANY
        if char == "\\":
            return self._escape()
        if char in "^$":
            raise PatternError(f"`{char}` stands inside; a name matches as a whole without it")
        return Atom(re.escape(char), char)

    def _group(self) -> Part:
        if self._take("?") and not self._take(":"):
            raise PatternError("groups that begin with `(?` are not supported, except `(?:`")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise PatternError("its groups are nested too deep")
        part = self._choice()
        self._depth -= 1
        if not self._take(")"):
            raise PatternError("a `(` is not closed; for the character itself write `\\(`")
        return part

    def _escape(self) -> Part:
        if self._at == len(self._text):
            raise PatternError("it ends with `\\`; for the character itself write `\\\\`")
        char = self._text[self._at]
        self._at += 1
        if char in _CLASS_ESCAPES:
            return Atom(f"\\{char}")
        if char.isalnum():
            raise PatternError(f"`\\{char}` is not supported")
        return Atom(re.escape(char), char)

    def _class(self) -> Part:
        expression = "[^" if self._take("^") else "["
        first = True
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == "]" and not first:
                return Atom(expression + "]")
            first = False
            if char == "-" and self._text.startswith("-", self._at):
                raise PatternError("`--` may not stand in `[ ]`; for the character itself write `\\-`")
            if char == "\\" and self._at < len(self._text):
                char += self._text[self._at]
                self._at += 1
                if char[1].isalnum() and char[1] not in _CLASS_ESCAPES:
                    raise PatternError(f"`{char}` is not supported")
                expression += char
            else:
                expression += char if char == "-" else re.escape(char)
        raise PatternError("a `[` is not closed; for the character itself write `\\[`")

    def _take(self, char: str) -> bool:
        if not self._text.startswith(char, self._at):
            return False
        self._at += 1
        return True


def _check_length(text: str) -> None:
    if not text:
        raise PatternError("it is empty")
    if len(text) > LONGEST_PATTERN:
        raise PatternError(f"it has {len(text)} characters, of {LONGEST_PATTERN} that it may have")
