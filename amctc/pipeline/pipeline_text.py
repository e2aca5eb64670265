"""The text form of a pipeline, read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TypeAlias

from lark import Lark, Token, Tree, UnexpectedInput

from amctc.diagnostics import did_you_mean, error
from amctc.pipeline.options import OptionText, build_pass
from amctc.pipeline.order import check_order
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import ROUNDS, Fixpoint, Pipeline
from amctc.registry import Registry
from amctc.source import SourceFile, Span

_MOST_ROUNDS = 1000


@dataclass(frozen=True)
class Placed:
    """A pass and the place in the text that asks for it."""

    step: Pass
    span: Span


_Item: TypeAlias = Placed | tuple[int, tuple[Placed, ...]]


def parse_pipeline(source: SourceFile, registry: Registry) -> Pipeline:
    """Read the text form of a pipeline, e.g. `fixpoint(remove-identity,merge-affine),quantize-weights`.

    Raises `DiagnosticError` at the character: AM500 unreadable, AM501 no such pass or pipeline, AM502 and
    AM503 options, AM504 an order that a pass forbids, AM507 a group inside a group.
    """
    items = tuple(_Reader(source, registry).items())
    placed = [each for item in items for each in (item[1] if isinstance(item, tuple) else (item,))]
    check_order([(each.step, each.span) for each in placed])
    return Pipeline(
        tuple(
            Fixpoint(tuple(each.step for each in item[1]), item[0]) if isinstance(item, tuple) else item.step
            for item in items
        )
    )


@dataclass(frozen=True)
class _Reader:
    """Reads one text. What a named pipeline holds is placed at its name: `at` is that place."""

    source: SourceFile
    registry: Registry
    at: Span | None = None
    within: tuple[str, ...] = ()
    grouped: bool = False

    def items(self) -> Iterator[_Item]:
        yield from self._items(_parse(self.source))

    def _items(self, tree: Tree[Token]) -> Iterator[_Item]:
        for child in tree.children:
            if not isinstance(child, Tree):
                continue
            if child.data == "group":
                yield self._group(child)
            else:
                yield from self._step(child)

    def _group(self, tree: Tree[Token]) -> _Item:
        inner = next(child for child in tree.children if isinstance(child, Tree) and child.data == "pipeline")
        if self.grouped:
            raise error("AM507", "a fixpoint group may not stand inside another", self._place(tree))
        limit = ROUNDS
        for name, (text, span, name_span) in self._options(tree).items():
            if name != "limit":
                raise error("AM502", f"`fixpoint` has no option `{name}`", name_span, help="it has limit")
            limit = _rounds(text, span)
        placed = [item for item in replace(self, grouped=True)._items(inner) if isinstance(item, Placed)]
        return limit, tuple(placed)

    def _step(self, tree: Tree[Token]) -> Iterator[_Item]:
        token = next(child for child in tree.children if isinstance(child, Token))
        name, span = str(token), self._span(token)
        options = self._options(tree)
        if name in self.registry.passes:
            yield Placed(build_pass(self.registry.passes[name].load(), options), span)
            return
        if name not in self.registry.pipelines:
            known = (*self.registry.passes, *self.registry.pipelines)
            help = did_you_mean(name, known) or "`amctc passes` lists them"
            raise error("AM501", f"there is no pass or pipeline named `{name}`", span, help=help)
        if options:
            raise error("AM502", f"`{name}` is a pipeline, and only passes have options", span)
        if name in self.within:
            raise error("AM501", f"the pipeline `{name}` holds itself", span)
        text = SourceFile(f"pipeline {name}", self.registry.pipelines[name])
        yield from _Reader(text, self.registry, span, (*self.within, name), self.grouped).items()

    def _options(self, tree: Tree[Token]) -> dict[str, OptionText]:
        found: dict[str, OptionText] = {}
        for child in tree.children:
            if isinstance(child, Tree) and child.data == "option":
                key, value = (token for token in child.children if isinstance(token, Token))
                if str(key) in found:
                    raise error("AM502", f"the option `{key}` is given twice", self._span(key))
                found[str(key)] = OptionText(str(value), self._span(value), self._span(key))
        return found

    def _span(self, token: Token) -> Span:
        start = token.start_pos or 0
        return self.at or self.source.span(start, start + len(token))

    def _place(self, tree: Tree[Token]) -> Span:
        return self.at or self.source.span(tree.meta.start_pos, tree.meta.end_pos)


def _parse(source: SourceFile) -> Tree[Token]:
    try:
        return _grammar().parse(source.text)
    except UnexpectedInput as mistake:
        start = mistake.pos_in_stream or 0
        span = source.span(start, start + 1)
        help = "write passes separated by commas, options in braces: `pass-name{option=value}`"
        raise error("AM500", "this is not a pipeline", span, help=help) from None


def _rounds(text: str, span: Span | None) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= _MOST_ROUNDS:
        return int(text)
    raise error("AM503", f"`limit` takes a whole number from 1 to {_MOST_ROUNDS}, not `{text}`", span)


@cache
def _grammar() -> Lark:
    text = files("amctc.grammar").joinpath("pipeline.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", start="pipeline", lexer="contextual", propagate_positions=True)
