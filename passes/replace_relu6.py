"""replace-relu6: let a ReLU stand for each ReLU6.

    Given   data -> conv -> relu6: ReLU6 -> out
    Result  data -> conv -> relu6: ReLU -> out

min(max(x, 0), 6) is not positively homogeneous, so that layers on either side of it cannot be equalized; max(x, 0) is.
Source: Nagel et al. 2019, arXiv:1906.04721, section 5.1.1, which does so for MobileNet at no loss of accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass


@dataclass(frozen=True)
class ReplaceReLU6(RewritePass):
    """Replace ReLU6, and Clip from 0 on, by ReLU, so that `equalize-layers` can work on both sides of it.

    The network computes something else wherever a value exceeds the bound: compare the accuracy of the float network
    with and without.
    """

    name: ClassVar[str] = "replace-relu6"
    before: ClassVar[tuple[str, ...]] = ("equalize-layers", "annotate-quant", "observe", "calibrate")
    pattern: ClassVar[str] = "bounded"

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        bounded = op_def(node).bounded
        if bounded is None:
            return None
        found = bounded.bound(node)
        if isinstance(found, str):
            return found
        return None if found > 0 else f"its bound is {found:g}, so that it is constant"

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        node = match.first
        bounded = op_def(node).bounded
        if bounded is None:
            raise ValueError(f"{node.op} has no bound")
        what, bound = node.type, bounded.bound(node)
        bounded.become(node)
        node.record(self.name, f"was a {what} up to {bound:g}" if isinstance(bound, float) else f"was a {what}")
