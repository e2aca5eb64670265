"""The text form of a pipeline, read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from lark import Token, Tree

from amctc.diagnostics import did_you_mean, error
from amctc.pipeline.options import configure
from amctc.pipeline.order import check_order
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import ROUNDS, Fixpoint, Pipeline
from amctc.pipeline.syntax import name_of, options_of_step, parse, span_of
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
        yield from self._items(parse(self.source, "pipeline"))

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
        for name, (text, span, name_span) in options_of_step(tree, self._span).items():
            if name != "limit":
                raise error("AM502", f"`fixpoint` has no option `{name}`", name_span, help="it has limit")
            limit = _rounds(text, span)
        placed = [item for item in replace(self, grouped=True)._items(inner) if isinstance(item, Placed)]
        return limit, tuple(placed)

    def _step(self, tree: Tree[Token]) -> Iterator[_Item]:
        token = name_of(tree)
        name, span = str(token), self._span(token)
        options = options_of_step(tree, self._span)
        if name in self.registry.passes:
            yield Placed(configure(self.registry.passes[name].load(), options), span)
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

    def _span(self, token: Token) -> Span:
        return self.at or span_of(self.source, token)

    def _place(self, tree: Tree[Token]) -> Span:
        return self.at or self.source.span(tree.meta.start_pos, tree.meta.end_pos)


def _rounds(text: str, span: Span | None) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= _MOST_ROUNDS:
        return int(text)
    raise error("AM503", f"`limit` takes a whole number from 1 to {_MOST_ROUNDS}, not `{text}`", span)
