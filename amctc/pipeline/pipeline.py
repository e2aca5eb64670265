"""A pipeline: passes in order, its text form, the check of their order, and the run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from lark import Lark, Token, Tree, UnexpectedInput

from amctc.diagnostics import did_you_mean, error
from amctc.ir import Graph
from amctc.ir.verify import InvalidGraph, verify
from amctc.pipeline.context import Context
from amctc.pipeline.options import build_pass
from amctc.pipeline.pass_ import Pass
from amctc.registry import Registry
from amctc.source import SourceFile, Span


class PassFailure(Exception):
    """A pass broke the graph: a bug of the pass. Names the pass and what is wrong."""


@dataclass(frozen=True)
class Timing:
    """How long one pass took, in seconds, and whether it changed the graph."""

    name: str
    seconds: float
    changed: bool


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run. `str(pipeline)` is a text that makes the same pipeline."""

    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        return ",".join(str(step) for step in self.passes)

    def run(
        self, graph: Graph, context: Context, started: Callable[[Pass], None] = lambda step: None
    ) -> tuple[Timing, ...]:
        """Run every pass once, verifying the graph before the first and after each.

        Raises `DiagnosticError` for the user's mistakes and `PassFailure` for ours.
        """
        verify(graph)
        timings: list[Timing] = []
        for step in self.passes:
            started(step)
            begin = time.perf_counter()
            changed = step.run(graph, context)
            timings.append(Timing(step.name, time.perf_counter() - begin, changed))
            try:
                verify(graph)
            except InvalidGraph as broken:
                raise PassFailure(f"the pass `{step.name}` left a broken graph: {broken}") from broken
            context.collector.raise_errors()
        return tuple(timings)


def parse_pipeline(source: SourceFile, registry: Registry) -> Pipeline:
    """Read the text form of a pipeline, e.g. `fuse-batchnorm,quantize-weights{algorithm=arq}`.

    Raises `DiagnosticError` at the character: AM500 unreadable, AM501 no such pass, AM502 and
    AM503 options, AM504 an order that a pass forbids.
    """
    try:
        tree = _grammar().parse(source.text)
    except UnexpectedInput as mistake:
        start = mistake.pos_in_stream or 0
        span = source.span(start, start + 1)
        help = "write passes separated by commas, options in braces: `pass-name{option=value}`"
        raise error("AM500", "this is not a pipeline", span, help=help) from None
    steps = [_step(child, source, registry) for child in tree.children if isinstance(child, Tree)]
    pipeline = Pipeline(tuple(step for step, _ in steps))
    check_order([(step, span) for step, span in steps])
    return pipeline


def check_order(steps: Sequence[tuple[Pass, Span | None]]) -> None:
    """Raise `DiagnosticError` (AM504) when a pass stands on the wrong side of one it names."""
    first = {step.name: place for place, (step, _) in reversed(list(enumerate(steps)))}
    last = {step.name: place for place, (step, _) in enumerate(steps)}
    for place, (step, span) in enumerate(steps):
        for name in (*step.after, *step.needs_before):
            if first.get(name, place) > place:
                raise error("AM504", f"`{step.name}` must come after `{name}`", span)
        for name in (*step.before, *step.needs_after):
            if last.get(name, place) < place:
                raise error("AM504", f"`{step.name}` must come before `{name}`", span)


def check_complete(pipeline: Pipeline) -> None:
    """Raise `DiagnosticError` (AM505) when a pass is there without one that it needs, or twice and needs some."""
    present = Counter(step.name for step in pipeline.passes)
    for step in pipeline.passes:
        if present[step.name] > 1 and (step.needs_before or step.needs_after):
            # Quantizing what is quantized already would give a wrong network.
            raise error("AM505", f"`{step.name}` stands in the pipeline {present[step.name]} times, once is enough")
        for names, where in ((step.needs_before, "before"), (step.needs_after, "after")):
            for name in names:
                if name not in present:
                    help = "`amctc passes` lists the passes; leave `--pipeline` out for the usual ones"
                    raise error("AM505", f"`{step.name}` needs `{name}` {where} it", help=help)


@cache
def _grammar() -> Lark:
    text = files("amctc.grammar").joinpath("pipeline.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", start="pipeline", lexer="contextual")


def _step(tree: Tree[Token], source: SourceFile, registry: Registry) -> tuple[Pass, Span]:
    name = next(child for child in tree.children if isinstance(child, Token))
    span = _span(name, source)
    if name not in registry.passes:
        help = did_you_mean(name, registry.passes) or "`amctc passes` lists them"
        raise error("AM501", f"there is no pass named `{name}`", span, help=help)
    options: dict[str, tuple[str, Span | None]] = {}
    for child in tree.children:
        if isinstance(child, Tree):
            key, value = (token for token in child.children if isinstance(token, Token))
            options[str(key)] = (str(value), _span(value, source))
    return build_pass(registry.passes[str(name)].load(), options), span


def _span(token: Token, source: SourceFile) -> Span:
    start = token.start_pos or 0
    return source.span(start, start + len(token))
