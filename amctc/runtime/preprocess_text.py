"""Reading the text of `--preprocess` (grammar: `preprocess.lark`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from lark import Lark, Token, Transformer

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label, did_you_mean, error
from amctc.runtime.preprocess_steps import (
    Arithmetic,
    CenterCrop,
    Channels,
    Layout,
    Method,
    Resize,
    ResizeShort,
    Step,
    TransposeHw,
)
from amctc.source import SourceFile, Span
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
)

MAX_LENGTH = 4096
MAX_SIDE = 16384


@dataclass(frozen=True)
class _Value:
    form: Literal["size", "numbers", "word"]
    tokens: tuple[Token, ...]

    @property
    def numbers(self) -> tuple[Token, ...]:
        return tuple(token for token in self.tokens if token.type == "NUMBER")

    @property
    def word(self) -> Token | None:
        """The value itself, or the option after `@`."""
        return next((token for token in self.tokens if token.type == "NAME"), None)


class _Shape(Transformer[Token, list[tuple[Token, _Value | None]]]):
    """Makes pairs of a step's name and its value."""

    def start(self, children: list[tuple[Token, _Value | None]]) -> list[tuple[Token, _Value | None]]:
        return children

    def step(self, children: list[Any]) -> tuple[Token, _Value | None]:
        return children[0], children[1] if len(children) > 1 else None

    def size(self, children: list[Token]) -> _Value:
        return _Value("size", tuple(children))

    def numbers(self, children: list[Token]) -> _Value:
        return _Value("numbers", tuple(children))

    def word(self, children: list[Token]) -> _Value:
        return _Value("word", tuple(children))


def _bad_character(text: str, at: int) -> Complaint:
    return Complaint(f"unexpected {name_character(text, at)} in a preprocessing", at + 1)


def _bad_token(source: SourceFile, token: Token, accepted: Collection[str]) -> DiagnosticError | None:
    if set(accepted) == {"NAME"} and not source.text[: token_start(token)].rstrip().endswith("@"):
        wanted = "a step"
    elif token.type == "$END":
        wanted = "a value"
    else:
        return None
    if token.type != "$END":
        return error("AM101", f"expected {wanted}, found `{token[:40]}`", token_span(source, token))
    end = len(source.text.rstrip())
    return error("AM101", f"expected {wanted}, found the end of the text", source.span(end, end))


_LANGUAGE = Language(
    name="preprocessing",
    grammar="preprocess.lark",
    transformer=_Shape,
    openers=frozenset(),
    closers=frozenset(),
    expectations=(
        expect("NUMBER", "a number"),
        expect("NAME", "a name"),
        *punctuation({"_EQUALS": "=", "_TIMES": "x", "_COLON": ":", "_AT": "@", "_COMMA": ","}),
        expect("$END", "the end"),
    ),
    brackets=re.compile(r"(?!)"),
    bad_character=_bad_character,
    bad_token=_bad_token,
)


@cache
def _parser() -> Lark:
    return build_parser(_LANGUAGE)


def parse_steps(source: SourceFile) -> tuple[Step, ...]:
    """The steps of a text, every mistake told at once; an empty text has none.

    Raises `DiagnosticError`: AM101 syntax, AM102 a text over `MAX_LENGTH` characters, AM451 an
    unknown step, AM452 a value, AM453 a step that is repeated or stands in the wrong place.
    """
    if len(source.text) > MAX_LENGTH:
        message = f"a preprocessing has at most {MAX_LENGTH} characters, this one has {len(source.text)}"
        raise error("AM102", message, file=source.name)
    if not source.text.strip():
        return ()
    written: list[tuple[Token, _Value | None]] = run_parser(_parser(), _LANGUAGE, source)
    collector = Collector()
    steps: list[Step] = []
    for name, value in written:
        try:
            steps.append(_step(source, name, value))
        except DiagnosticError as mistake:
            collector.extend(mistake.diagnostics)
    _check_order(steps, collector)
    collector.raise_errors()
    return tuple(steps)


@dataclass(frozen=True)
class _Reader:
    """One written step on its way to a `Step`."""

    source: SourceFile
    name: Token
    value: _Value | None

    @property
    def span(self) -> Span:
        last = self.value.tokens[-1] if self.value is not None else self.name
        return self.source.span(token_start(self.name), token_end(last))

    def wrong(self, message: str, token: Token | None = None) -> DiagnosticError:
        span = self.span if token is None else token_span(self.source, token)
        return error("AM452", message, span, help=f"write {STEPS[str(self.name)].usage}")

    def nothing(self) -> None:
        if self.value is not None:
            raise self.wrong(f"`{self.name}` takes no value")

    def size(self) -> tuple[int, int]:
        value = self._needed()
        if value.form == "word" or len(value.numbers) > 2 or (value.form == "numbers" and len(value.numbers) > 1):
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

    def layout(self) -> Literal["chw", "hwc"]:
        word = self._needed().word
        if word == "chw":
            return "chw"
        if word == "hwc":
            return "hwc"
        raise self.wrong("`layout` is `chw` or `hwc`", word)

    def _needed(self) -> _Value:
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


@dataclass(frozen=True)
class StepKind:
    """How a step is written, in words for a message, and how it is read."""

    usage: str
    read: Callable[[_Reader], Step]


def _resize(reader: _Reader) -> Step:
    return Resize(*reader.size(), reader.method(), span=reader.span)


def _resize_short(reader: _Reader) -> Step:
    return ResizeShort(reader.side(), reader.method(), span=reader.span)


def _center_crop(reader: _Reader) -> Step:
    width, height = reader.size()
    reader.no_option()
    return CenterCrop(width, height, span=reader.span)


def _channels(order: Literal["rgb", "bgr", "gray"]) -> Callable[[_Reader], Step]:
    def read(reader: _Reader) -> Step:
        reader.nothing()
        return Channels(order, span=reader.span)

    return read


def _transpose_hw(reader: _Reader) -> Step:
    reader.nothing()
    return TransposeHw(span=reader.span)


STEPS: Mapping[str, StepKind] = {
    "resize": StepKind("`resize=WIDTHxHEIGHT` or `resize=N`", _resize),
    "resize-short": StepKind("`resize-short=N`", _resize_short),
    "center-crop": StepKind("`center-crop=N` or `center-crop=WIDTHxHEIGHT`", _center_crop),
    "rgb": StepKind("`rgb`", _channels("rgb")),
    "bgr": StepKind("`bgr`", _channels("bgr")),
    "gray": StepKind("`gray`", _channels("gray")),
    "mean": StepKind("`mean=A` or `mean=A:B:C`", lambda r: Arithmetic("mean", r.floats(), span=r.span)),
    "std": StepKind("`std=A` or `std=A:B:C`", lambda r: Arithmetic("std", r.floats(zero=False), span=r.span)),
    "scale": StepKind("`scale=F`", lambda r: Arithmetic("scale", r.floats(1, zero=False), span=r.span)),
    "layout": StepKind("`layout=chw` or `layout=hwc`", lambda r: Layout(r.layout(), span=r.span)),
    "transpose-hw": StepKind("`transpose-hw`", _transpose_hw),
}


def _step(source: SourceFile, name: Token, value: _Value | None) -> Step:
    kind = STEPS.get(str(name))
    if kind is None:
        help = did_you_mean(name, STEPS) or f"there are: {', '.join(STEPS)}"
        raise error("AM451", f"unknown step `{name}`", token_span(source, name), help=help)
    return kind.read(_Reader(source, name, value))


def _check_order(steps: list[Step], collector: Collector) -> None:
    once: dict[type[Step], Step] = {}
    after_pixels: Step | None = None
    for step in steps:
        if isinstance(step, Channels | Layout | TransposeHw):
            first = once.setdefault(type(step), step)
            if first is not step:
                what = "the channels are" if isinstance(step, Channels) else f"`{step.name}` is"
                collector.add(_misplaced(f"{what} stated twice", step, first, "first stated here"))
        pixels = isinstance(step, Resize | ResizeShort | CenterCrop) or step.name == "gray"
        if pixels and after_pixels is not None:
            message = f"`{step.name}` works on 8-bit pixels and must stand before `{after_pixels.name}`"
            collector.add(_misplaced(message, step, after_pixels, "after this the values are floating point"))
        if isinstance(step, Arithmetic | TransposeHw):
            after_pixels = after_pixels or step


def _misplaced(message: str, step: Step, other: Step, label: str) -> Diagnostic:
    related = (Label(other.span, label),) if other.span is not None else ()
    return Diagnostic("AM453", message, span=step.span, related=related)
