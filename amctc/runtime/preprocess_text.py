"""Reading the text of `--preprocess` (grammar: `preprocess.lark`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from lark import Lark, Token, Transformer

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label, did_you_mean, error
from amctc.runtime.preprocess_steps import (
    Arithmetic,
    CenterCrop,
    Channels,
    Layout,
    MeanImage,
    Resize,
    ResizeShort,
    Step,
    TransposeHw,
)
from amctc.runtime.preprocess_values import Reader, Value
from amctc.source import SourceFile
from amctc.text.syntax import (
    Complaint,
    Language,
    build_parser,
    expect,
    name_character,
    punctuation,
    run_parser,
    token_span,
    token_start,
)

MAX_LENGTH = 4096


class _Shape(Transformer[Token, list[tuple[Token, Value | None]]]):
    """Makes pairs of a step's name and its value."""

    def start(self, children: list[tuple[Token, Value | None]]) -> list[tuple[Token, Value | None]]:
        return children

    def step(self, children: list[Any]) -> tuple[Token, Value | None]:
        return children[0], children[1] if len(children) > 1 else None

    def size(self, children: list[Token]) -> Value:
        return Value("size", tuple(children))

    def numbers(self, children: list[Token]) -> Value:
        return Value("numbers", tuple(children))

    def word(self, children: list[Token]) -> Value:
        return Value("word", tuple(children))

    def path(self, children: list[Token]) -> Value:
        return Value("path", tuple(children))


def _bad_character(text: str, at: int) -> Complaint:
    if text[at] == '"':
        return Complaint("this quote is not closed", at + 1)
    step = text[text.rfind(",", 0, at) + 1 : at].lstrip(" ")
    help = 'write this path in quotes: `mean="PATH"`' if step.startswith("mean=") else None
    return Complaint(f"unexpected {name_character(text, at)} in a preprocessing", at + 1, help)


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
    grammar="preprocess",
    transformer=_Shape,
    openers=frozenset(),
    closers=frozenset(),
    expectations=(
        expect("NUMBER", "a number"),
        expect("NAME", "a name"),
        expect("PATH", "", "STRING"),
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
    written: list[tuple[Token, Value | None]] = run_parser(_parser(), _LANGUAGE, source)
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
class StepKind:
    """How a step is written, in words for a message, and how it is read."""

    usage: str
    read: Callable[[Reader], Step]


def _resize(reader: Reader) -> Step:
    return Resize(*reader.size(), reader.method(), span=reader.span)


def _resize_short(reader: Reader) -> Step:
    return ResizeShort(reader.side(), reader.method(), span=reader.span)


def _center_crop(reader: Reader) -> Step:
    width, height = reader.size()
    reader.no_option()
    return CenterCrop(width, height, span=reader.span)


def _channels(order: Literal["rgb", "bgr", "gray"]) -> Callable[[Reader], Step]:
    def read(reader: Reader) -> Step:
        reader.nothing()
        return Channels(order, span=reader.span)

    return read


def _transpose_hw(reader: Reader) -> Step:
    reader.nothing()
    return TransposeHw(span=reader.span)


def _mean(reader: Reader) -> Step:
    path = reader.path()
    return Arithmetic("mean", reader.floats(), span=reader.span) if path is None else MeanImage(path, span=reader.span)


STEPS: Mapping[str, StepKind] = {
    "resize": StepKind("`resize=WIDTHxHEIGHT` or `resize=N`", _resize),
    "resize-short": StepKind("`resize-short=N`", _resize_short),
    "center-crop": StepKind("`center-crop=N` or `center-crop=WIDTHxHEIGHT`", _center_crop),
    "rgb": StepKind("`rgb`", _channels("rgb")),
    "bgr": StepKind("`bgr`", _channels("bgr")),
    "gray": StepKind("`gray`", _channels("gray")),
    "mean": StepKind("`mean=A`, `mean=A:B:C` or `mean=FILE.binaryproto`", _mean),
    "std": StepKind("`std=A` or `std=A:B:C`", lambda r: Arithmetic("std", r.floats(zero=False), span=r.span)),
    "scale": StepKind("`scale=F`", lambda r: Arithmetic("scale", r.floats(1, zero=False), span=r.span)),
    "layout": StepKind("`layout=chw` or `layout=hwc`", lambda r: Layout(r.layout(), span=r.span)),
    "transpose-hw": StepKind("`transpose-hw`", _transpose_hw),
}


def _step(source: SourceFile, name: Token, value: Value | None) -> Step:
    kind = STEPS.get(str(name))
    if kind is None:
        help = did_you_mean(name, STEPS) or f"there are: {', '.join(STEPS)}"
        raise error("AM451", f"unknown step `{name}`", token_span(source, name), help=help)
    return kind.read(Reader(source, name, value, kind.usage))


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
        if isinstance(step, Arithmetic | MeanImage | TransposeHw):
            after_pixels = after_pixels or step


def _misplaced(message: str, step: Step, other: Step, label: str) -> Diagnostic:
    related = (Label(other.span, label),) if other.span is not None else ()
    return Diagnostic("AM453", message, span=step.span, related=related)
