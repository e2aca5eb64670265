"""The values of preprocessing steps: what stands after `=`, read as sizes, numbers, words and paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from lark import Token

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.runtime.preprocess_steps import Method
from amctc.source import SourceFile, Span
from amctc.text.syntax import token_end, token_span, token_start

MAX_SIDE = 16384


@dataclass(frozen=True)
class Value:
    """What stands after the `=` of a step, with its form in the grammar."""

    form: Literal["size", "numbers", "word", "path"]
    tokens: tuple[Token, ...]

    @property
    def numbers(self) -> tuple[Token, ...]:
        return tuple(token for token in self.tokens if token.type == "NUMBER")

    @property
    def word(self) -> Token | None:
        """The value itself, or the option after `@`."""
        return next((token for token in self.tokens if token.type == "NAME"), None)


@dataclass(frozen=True)
class Reader:
    """One written step on its way to a `Step`; `usage` says in words how it is written.

    Its methods raise `DiagnosticError` (AM452) for a value that is not what they read.
    """

    source: SourceFile
    name: Token
    value: Value | None
    usage: str

    @property
    def span(self) -> Span:
        last = self.value.tokens[-1] if self.value is not None else self.name
        return self.source.span(token_start(self.name), token_end(last))

    def wrong(self, message: str, token: Token | None = None) -> DiagnosticError:
        span = self.span if token is None else token_span(self.source, token)
        return error("AM452", message, span, help=f"write {self.usage}")

    def nothing(self) -> None:
        if self.value is not None:
            raise self.wrong(f"`{self.name}` takes no value")

    def size(self) -> tuple[int, int]:
        value = self._needed()
        if not value.numbers or len(value.numbers) > 2 or (value.form == "numbers" and len(value.numbers) > 1):
            raise self.wrong(f"`{self.name}` takes a size in pixels")
        sides = tuple(self._pixels(token) for token in value.numbers)
        return sides[0], sides[-1]

    def side(self) -> int:
        value = self._needed()
        if value.form != "numbers" or len(value.numbers) != 1:
            raise self.wrong(f"`{self.name}` takes one number of pixels")
        return self._pixels(value.numbers[0])

    def method(self) -> Method:
        option = self._needed().word
        if option is None:
            return "bilinear"
        known: tuple[Method, ...] = get_args(Method)
        for method in known:
            if option == method:
                return method
        raise error(
            "AM452",
            f"unknown interpolation `{option}`",
            token_span(self.source, option),
            help=did_you_mean(option, known) or f"there are: {', '.join(known)}",
        )

    def no_option(self) -> None:
        value = self._needed()
        if value.form != "word" and value.word is not None:
            raise self.wrong(f"`{self.name}` has no interpolation", value.word)

    def floats(self, most: int | None = None, *, zero: bool = True) -> tuple[float, ...]:
        value = self._needed()
        self.no_option()
        if value.form != "numbers" or (most is not None and len(value.numbers) > most):
            raise self.wrong(f"`{self.name}` takes {'one number' if most == 1 else 'numbers parted by `:`'}")
        return tuple(self._float(token, zero) for token in value.numbers)

    def path(self) -> str | None:
        """The path, where the value is one; of two quotes inside quotes one is meant."""
        value = self._needed()
        if value.form != "path":
            return None
        (token,) = value.tokens
        path = token[1:-1].replace('""', '"') if token.type == "STRING" else str(token)
        if not path:
            raise self.wrong("the path is empty", token)
        return path

    def layout(self) -> Literal["chw", "hwc"]:
        word = self._needed().word
        if word == "chw":
            return "chw"
        if word == "hwc":
            return "hwc"
        raise self.wrong("`layout` is `chw` or `hwc`", word)

    def _needed(self) -> Value:
        if self.value is None:
            raise self.wrong(f"`{self.name}` needs a value")
        return self.value

    def _pixels(self, token: Token) -> int:
        if re.fullmatch(r"[0-9]{1,9}", token) is None or not 1 <= int(token) <= MAX_SIDE:
            raise self.wrong(f"`{token}` is not a whole number of pixels from 1 to {MAX_SIDE}", token)
        return int(token)

    def _float(self, token: Token, zero: bool) -> float:
        number = float(token)
        with np.errstate(over="ignore", under="ignore"):
            used = np.float32(number)
        if not np.isfinite(used):
            raise self.wrong(f"`{token}` is too large for float32", token)
        if not zero and used == 0:
            raise self.wrong(f"`{self.name}` must not be zero in float32", token)
        return number
