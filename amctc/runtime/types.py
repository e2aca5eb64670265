"""The element type of every value of a graph."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.table import op_def
from amctc.ir import Graph, Value


def element_types(graph: Graph) -> Mapping[Value, str]:
    """float32, int8, int16 or int32 for every value, by the op table's rules.

    The rules look at the types of a node's inputs, so each value's `dtype` is brought up to date on
    the way, as `annotate_shapes` does.
    """
    for node in graph.nodes:
        for value, dtype in zip(node.outputs, op_def(node).output_dtypes(node), strict=True):
            value.dtype = dtype
    return {value: value.dtype for node in graph.nodes for value in node.outputs}
