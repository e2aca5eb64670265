"""What the texts of pipelines and of targets share: names, and options in braces."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

from lark import Lark, Token, Tree, UnexpectedInput

from amctc.diagnostics import error
from amctc.pipeline.options import OptionText
from amctc.source import SourceFile, Span
from amctc.text.parsers import parser_of

_REFUSED = {
    "pipeline": ("AM500", "this is not a pipeline", "passes", "pass-name"),
    "targets": ("AM703", "these are not targets", "targets", "target-name"),
}


def parse(source: SourceFile, what: Literal["pipeline", "targets"]) -> Tree[Token]:
    """The tree of a text. Raises `DiagnosticError` at the character: AM500 for no pipeline, AM703 for no targets."""
    try:
        return _grammar().parse(source.text, start=what)
    except UnexpectedInput as mistake:
        start = mistake.pos_in_stream or 0
        code, message, many, name = _REFUSED[what]
        help = f"write {many} separated by commas, options in braces: `{name}{{option=value,option=value}}`"
        raise error(code, message, source.span(start, start + 1), help=help) from None


def name_of(step: Tree[Token]) -> Token:
    """The name that a step begins with."""
    return next(child for child in step.children if isinstance(child, Token))


def options_of_step(step: Tree[Token], place: Callable[[Token], Span]) -> dict[str, OptionText]:
    """The options in the braces of a step, or of a group. Raises `DiagnosticError` (AM502) for one that is repeated."""
    found: dict[str, OptionText] = {}
    for child in step.children:
        if isinstance(child, Tree) and child.data == "option":
            key, value = (token for token in child.children if isinstance(token, Token))
            if str(key) in found:
                raise error("AM502", f"the option `{key}` is given twice", place(key))
            found[str(key)] = OptionText(str(value), place(value), place(key))
    return found


def span_of(source: SourceFile, token: Token) -> Span:
    """The characters of a token."""
    start = token.start_pos or 0
    return source.span(start, start + len(token))


@cache
def _grammar() -> Lark:
    return parser_of("pipeline", propagate_positions=True)
