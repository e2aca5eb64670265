"""merge-reshape: one Reshape for several layers that only give another shape.

    Given   data [N, 4, 6, 6] -> flat: Flatten -> two: Reshape [0, 2, -1] -> out
    Result  data [N, 4, 6, 6] -> flat: Reshape [0, 2, -1] -> out

The elements stay in their order all along, so that only the last shape counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.shapes import other_batch_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import chosen_by_policy, fusion_is_off, fusion_is_skipped, merge_chain, waits
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass


@dataclass(frozen=True)
class MergeReshape(RewritePass):
    """Merge consecutive layers that only give another shape (Reshape, Flatten, Unsqueeze) into one Reshape.

    It copies the axes of the input that stay and leaves one size open, so that it does for every number of samples,
    and where that can be said for every size of the input, what the layers did. Where no Reshape does, they stay, as
    does a layer that the policy names to be quantized or in `skip_fusion_layers`.
    """

    name: ClassVar[str] = "merge-reshape"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = "reshaping -> reshaping+"

    def skip_reason(self, context: Context) -> str | None:
        return fusion_is_off(context)

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        reason = fusion_is_skipped(node, context) or chosen_by_policy(node, context)
        return reason or (waits(node) if node is not match.first else None)

    def check(self, match: Match, context: Context) -> str | None:
        shape = match.first.inputs[0].shape
        if shape is None:
            return "the shape of its input is not known"
        if 0 in shape:
            return "its input is empty"
        if _dims(match, context) is None:
            return "no one Reshape gives the last shape for every number of samples"
        return None

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        dims, trait = _dims(match, context), op_def(match.first).reshaping
        if dims is None or trait is None:
            raise ValueError(f"{match.first.name!r} begins no chain that can be merged")
        trait.become(match.first, dims)
        merge_chain(graph, match.nodes, self.name)


def _dims(match: Match, context: Context) -> tuple[int, ...] | None:
    """What one Reshape has to say: a size, 0 for that of the input, -1 for what is left. None if it cannot be said."""
    source = match.first.inputs[0]
    shape = source.shape
    if shape is None:
        return None
    larger = [(*shape[:axis], 2 * size, *shape[axis + 1 :]) for axis, size in enumerate(shape)]
    found = _dims_for(match.nodes, [shape, *larger])
    if found is not None:
        return found
    other = context.fact(other_batch_shapes, source.producer.graph).get(source)
    return _dims_for(match.nodes, [shape] if other is None else [shape, other])


def _dims_for(chain: Sequence[Node], shapes: Sequence[Shape]) -> tuple[int, ...] | None:
    """The same for an input of each of these shapes that the chain takes."""
    pairs = [(shape, end) for shape in shapes if (end := _through(chain, shape)) is not None]
    if not pairs or not pairs[0][1] or len({len(end) for _, end in pairs}) != 1:
        return None
    dims: list[int] = []
    for axis, size in enumerate(pairs[0][1]):
        if all(axis < len(shape) and shape[axis] == end[axis] for shape, end in pairs):
            dims.append(0)
        else:
            dims.append(size if all(end[axis] == size for _, end in pairs) else -1)
    return tuple(dims) if dims.count(-1) < 2 else None


def _through(chain: Sequence[Node], shape: Shape) -> Shape | None:
    try:
        for node in chain:
            (shape,) = op_def(node).infer(node, (shape,))
    except (OpError, UnknownShape):
        return None
    return shape
