"""merge-permute: one Permute for several, or none.

    Given   data -> a: Permute [0, 2, 3, 1] -> b: Permute [0, 2, 1, 3] -> out
    Result  data -> a: Permute [0, 3, 2, 1] -> out

Axis i of the output is axis first[second[i]] of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import (
    cannot_stand_for,
    chosen_by_policy,
    control_edges,
    fusion_is_off,
    fusion_is_skipped,
    merge_chain,
    waits,
)
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass


@dataclass(frozen=True)
class MergePermute(RewritePass):
    """Merge consecutive Permute layers into one, and take them all out where they undo each other.

    A layer that the policy names to be quantized or in `skip_fusion_layers` stays.
    """

    name: ClassVar[str] = "merge-permute"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = "permuting -> permuting+"

    def skip_reason(self, context: Context) -> str | None:
        return fusion_is_off(context)

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        reason = fusion_is_skipped(node, context) or chosen_by_policy(node, context)
        return reason or (waits(node) if node is not match.first else None)

    def check(self, match: Match, context: Context) -> str | None:
        return "the number of axes of its input is not known" if match.first.inputs[0].shape is None else None

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        first, source = match.first, match.first.inputs[0]
        rank = len(source.shape or ())
        order = tuple(range(rank))
        for node in match.nodes:
            order = tuple(order[axis] for axis in _order(node, rank))
        trait = op_def(first).permuting
        if trait is None:
            raise ValueError(f"{first.name!r} is no permutation")
        trait.become(first, order)
        names = ", ".join(f"`{node.name}`" for node in match.nodes)
        merge_chain(graph, match.nodes, self.name)
        undone = order == tuple(range(rank))
        if undone and cannot_stand_for(graph, source, first.output) is None and not control_edges(first, context):
            graph.bypass(first)
            source.producer.record(self.name, f"is read in the place of {names}, which undid each other")


def _order(node: Node, rank: int) -> tuple[int, ...]:
    trait = op_def(node).permuting
    if trait is None:
        raise ValueError(f"{node.name!r} is no permutation")
    return trait.order(node, rank)
