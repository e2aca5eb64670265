"""Passes that look for a pattern and rewrite each match on its own."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.matching import find_matches
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pattern import Match, parse_pattern


class RewritePass(Pass):
    """A pass that looks for a pattern and rewrites each match on its own.

    All matches are found first, leftmost and longest, and no node is part of two; then they are checked and
    rewritten in the topological order of their first nodes. What is refused is kept with its reason.
    """

    pattern: ClassVar[str]

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        """Why this node may not be part of any match, as a sentence; None where it may.

        The pattern is then matched again without such nodes, so that a chain ends in front of one.
        """
        return None

    def check(self, match: Match, context: Context) -> str | None:
        """Why this match must not be rewritten, as a sentence; None to go on."""
        return None

    @abstractmethod
    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        """Rewrite one match with the verbs of the graph."""

    def run(self, graph: Graph, context: Context) -> bool:
        changed = False
        for match in self._matches(graph, context):
            # A rewrite before this one may have taken nodes away.
            if not match.holds(graph):
                continue
            if reason := self.check(match, context):
                context.refuse(self.name, match.first.name, reason)
                continue
            self.rewrite(match, graph, context)
            context.counts["rewrites"] += 1
            changed = True
        return changed

    def _matches(self, graph: Graph, context: Context) -> tuple[Match, ...]:
        compiled = parse_pattern(self.pattern)
        refused: set[Node] = set()
        while True:
            found = find_matches(compiled, graph, without=refused)
            newly = {
                node: reason
                for match in found.matches
                for node in match.nodes
                if (reason := self.check_node(node, match, context)) is not None
            }
            for node, reason in newly.items():
                context.refuse(self.name, node.name, reason)
            if not newly:
                for miss in found.misses:
                    context.refuse(self.name, miss.node.name, miss.reason)
                return found.matches
            refused |= newly.keys()
