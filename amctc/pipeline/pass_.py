"""What a pass is."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

from amctc.ir import Graph, Node
from amctc.pipeline.context import Context, Refusal
from amctc.pipeline.pattern import Match, Pattern, parse_pattern


class Pass(ABC):
    """One rewrite of the graph: a frozen dataclass whose fields are its options.

    `name` is kebab-case and never changes. `after` and `before` name passes that must come earlier
    or later in any pipeline that has both; `needs_before` and `needs_after` name passes that a whole
    pipeline must have earlier or later. The first paragraph of the docstring is the help text.
    """

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()
    needs_before: ClassVar[tuple[str, ...]] = ()
    needs_after: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, graph: Graph, context: Context) -> bool:
        """Rewrite the graph in place; say whether anything changed."""

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join((cls.__doc__ or "").strip().split("\n\n", maxsplit=1)[0].split())

    def __str__(self) -> str:
        """The pass in the text form of a pipeline: its name, and the options that are not the default."""
        if not dataclasses.is_dataclass(self):
            return self.name
        changed = [
            (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        options = " ".join(f"{key.replace('_', '-')}={_option_text(value)}" for key, value in changed)
        return f"{self.name}{{{options}}}" if options else self.name


class RewritePass(Pass):
    """A pass that looks for a pattern and rewrites each match on its own.

    Matches are taken in topological order of their first node; a node is part of one match only.
    """

    pattern: ClassVar[str]

    @abstractmethod
    def check(self, match: Match, context: Context) -> str | None:
        """Why this match must not be rewritten, as a sentence; None to go on."""

    @abstractmethod
    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        """Rewrite one match with the verbs of the graph."""

    def run(self, graph: Graph, context: Context) -> bool:
        changed = False
        done: set[Node] = set()
        compiled: Pattern = parse_pattern(self.pattern)
        for node in graph.nodes:
            # An earlier rewrite may have removed nodes of this snapshot.
            if node in done or node.name not in graph or (match := compiled.match(graph, node)) is None:
                continue
            done.update(match.nodes)
            if reason := self.check(match, context):
                context.refusals.append(Refusal(self.name, node.name, reason))
                continue
            self.rewrite(match, graph, context)
            changed = True
        return changed


def _option_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
