"""The text that names targets, read."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token, Tree

from amctc.diagnostics import did_you_mean, error
from amctc.pipeline.options import configure
from amctc.pipeline.syntax import name_of, options_of_step, parse, span_of
from amctc.pipeline.target import Target
from amctc.registry import Registry
from amctc.source import SourceFile, Span


def parse_targets(source: SourceFile, registry: Registry) -> tuple[Target, ...]:
    """Read targets with their options, e.g. `caffe,other{level=2}`.

    Raises `DiagnosticError` at the character: AM703 unreadable, AM701 no such target, AM502 and AM503 options.
    """
    return tuple(_targets(source, registry))


def _targets(source: SourceFile, registry: Registry) -> Iterator[Target]:
    def place(token: Token) -> Span:
        return span_of(source, token)

    for step in parse(source, "targets").children:
        if not isinstance(step, Tree):
            continue
        name = name_of(step)
        if name not in registry.targets:
            help = did_you_mean(name, registry.targets) or f"there are: {', '.join(registry.targets)}"
            raise error("AM701", f"there is no target named `{name}`", place(name), help=help)
        kind: type[Target] = registry.targets[name].load()
        yield configure(kind, options_of_step(step, place))
