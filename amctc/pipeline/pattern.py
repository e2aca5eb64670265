"""Patterns over chains of layers: `linear -> BatchNorm? -> Scale? -> Bias?`.

A step names a trait of the op table (`linear`, `affine`, `activation`) or a layer type. Each layer
after the first must be the only reader of the one before it, and read it through its first input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from lark import Lark, Token, Tree, UnexpectedInput

from amctc.dialects.op import OpDef
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node

TRAITS: Mapping[str, Callable[[OpDef], bool]] = MappingProxyType(
    {
        "linear": lambda row: row.linear is not None,
        "affine": lambda row: row.affine is not None,
        "activation": lambda row: row.activation,
        "identity": lambda row: row.identity,
        "movement": lambda row: row.moves_data,
    }
)
"""Traits a pattern may name, in lower case so that they differ from layer types."""


class PatternError(ValueError):
    """A pattern that cannot be read: a mistake of whoever wrote the pass."""


@dataclass(frozen=True)
class Step:
    names: tuple[str, ...]
    optional: bool

    def accepts(self, node: Node) -> bool:
        row = op_def(node)
        return any(TRAITS[name](row) if name in TRAITS else node.type == name for name in self.names)


@dataclass(frozen=True)
class Match:
    """The nodes that matched, in chain order; an optional step that matched nothing has no node."""

    nodes: tuple[Node, ...]
    steps: tuple[Node | None, ...]

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def rest(self) -> tuple[Node, ...]:
        return self.nodes[1:]


@dataclass(frozen=True)
class Pattern:
    steps: tuple[Step, ...]

    def match(self, graph: Graph, start: Node) -> Match | None:
        """The match that begins at `start`, taking every optional step that is there; None if none.

        A pattern of one required and several optional steps matches only when at least one of the
        optional ones is there.
        """
        if not self.steps[0].accepts(start):
            return None
        found: list[Node | None] = [start]
        last = start
        for step in self.steps[1:]:
            follower = _only_reader(graph, last)
            if follower is not None and step.accepts(follower):
                found.append(follower)
                last = follower
            elif step.optional:
                found.append(None)
            else:
                return None
        nodes = tuple(node for node in found if node is not None)
        if len(nodes) == 1 and len(self.steps) > 1:
            return None
        return Match(nodes, tuple(found))


@cache
def parse_pattern(text: str) -> Pattern:
    """Raises `PatternError` for a text that is not a pattern."""
    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as mistake:
        raise PatternError(f"{text!r}: unreadable at column {mistake.column}") from None
    steps = tuple(_step(child) for child in tree.children if isinstance(child, Tree))
    if steps[0].optional:
        raise PatternError(f"{text!r}: the first step may not be optional")
    return Pattern(steps)


@cache
def _grammar() -> Lark:
    text = files("amctc.grammar").joinpath("pattern.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", start="pattern")


def _step(tree: Tree[Token]) -> Step:
    tokens = [child for child in tree.children if isinstance(child, Token)]
    names = tuple(str(token) for token in tokens if token.type == "NAME")
    for name in names:
        if name.islower() and name not in TRAITS:
            raise PatternError(f"`{name}` is not a trait; there are {', '.join(TRAITS)}")
    return Step(names, any(token.type == "OPTIONAL" for token in tokens))


def _only_reader(graph: Graph, node: Node) -> Node | None:
    if len(node.outputs) != 1 or not graph.has_single_use(node.output):
        return None
    use = graph.uses(node.output)[0]
    return use.node if use.index == 0 else None
