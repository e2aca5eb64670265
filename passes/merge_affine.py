"""merge-affine: one Scale for several layers that multiply and add channel by channel.

    Given   data -> bn: BatchNorm (a1, b1) -> scale: Scale (a2, b2) -> out
    Result  data -> bn: Scale (a2*a1, a2*b1 + b2) -> out

y = a2*(a1*x + b1) + b2 for each channel, computed in float64 and rounded to float32 once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.table import op_def
from amctc.dialects.traits import affine_coefficients
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import fusion_is_off, fusion_is_skipped, merge_chain, quantized_by_policy, waits
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass


@dataclass(frozen=True)
class MergeAffine(RewritePass):
    """Merge consecutive BatchNorm, Scale, Bias and Power (of power 1) layers into one Scale of the channels.

    Only maps along the axis of the channels are merged. A layer whose data are to be quantized stays: one that is
    merged would compute on other data, or on weights. So does one in `skip_fusion_layers`. Behind a convolution
    fuse-batchnorm takes the Scale in.
    """

    name: ClassVar[str] = "merge-affine"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = "affine -> affine+"

    def skip_reason(self, context: Context) -> str | None:
        return fusion_is_off(context)

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        reason = fusion_is_skipped(node, context) or quantized_by_policy(node, context)
        if reason is None and node is not match.first:
            reason = waits(node)
        if reason is not None:
            return reason
        shape, axis = node.inputs[0].shape, _axis(match)
        if shape is None or len(shape) <= axis:
            return "its input has no channels" if shape is not None else "the shape of its input is not known"
        found = affine_coefficients(node, shape[axis], axis)
        return found if isinstance(found, str) else None

    def check(self, match: Match, context: Context) -> str | None:
        trait = op_def(match.first).affine
        if trait is None or trait.become is None:
            return f"there is no one layer for what {match.first.type} layers do"
        if not all(np.isfinite(numbers).all() for numbers in _merged(match)):
            return "the numbers of the merged layer do not fit into float32"
        return None

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        trait = op_def(match.first).affine
        if trait is None or trait.become is None:
            raise ValueError(f"{match.first.name!r} cannot become the merged layer")
        trait.become(match.first, *_merged(match))
        merge_chain(graph, match.nodes, self.name)


def _axis(match: Match) -> int:
    """The axis of the channels, which is another than 1 in some layouts."""
    trait = op_def(match.first).affine
    return 1 if trait is None else trait.axis(match.first)


def _merged(match: Match) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(a, b), float32 [C] each, of the whole chain."""
    shape, axis = match.first.inputs[0].shape, _axis(match)
    channels = shape[axis] if shape is not None else 0
    scale, shift = np.ones(channels), np.zeros(channels)
    for node in match.nodes:
        found = affine_coefficients(node, channels, axis)
        if isinstance(found, str):
            raise ValueError(found)
        a, b = found
        scale, shift = a * scale, a * shift + b
    with np.errstate(over="ignore"):
        return scale.astype(np.float32), shift.astype(np.float32)
