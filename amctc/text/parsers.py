"""The parsers of the grammars in `amctc.grammar`: loaded from the tables shipped beside them, else built.

Loading costs 2 to 7 ms, building 16 to 42. Both give the same parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from lark import Lark, Transformer
from lark.lark import PostLex

from amctc.text.parser_tables import load_tables

STARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "graph": ("graph",),
    "json": ("start",),
    "pattern": ("pattern",),
    "pipeline": ("pipeline", "targets"),
    "preprocess": ("start",),
    "proto2": ("start",),
    "prototext": ("start",),
}
"""Every grammar, with the rules that a text may be parsed by."""


def parser_of(
    grammar: str,
    transformer: Transformer[Any, Any] | None = None,
    postlex: PostLex | None = None,
    propagate_positions: bool = False,
) -> Lark:
    """The LALR parser of a grammar, named without its suffix. Made anew each time, so cache it."""
    text, options = grammar_text(grammar), table_options(grammar)
    uses = {"transformer": transformer, "postlex": postlex, "propagate_positions": propagate_positions}
    return load_tables(grammar, text, options, uses) or Lark(text, **options, **uses)


def grammar_text(grammar: str) -> str:
    """What is written in `GRAMMAR.lark`."""
    return files("amctc.grammar").joinpath(f"{grammar}.lark").read_text(encoding="utf-8")


def table_options(grammar: str) -> dict[str, Any]:
    """The options for lark that decide, with the grammar, what its tables hold."""
    return {"parser": "lalr", "lexer": "contextual", "start": [*STARTS[grammar]], "maybe_placeholders": False}
