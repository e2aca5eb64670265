"""A Caffe net whose layers all have tops of their own."""

from __future__ import annotations

from dataclasses import replace

from amctc.diagnostics import Collector, Level
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.targets.caffe.files import prototxt


def uninplaced(graph: Graph, collector: Collector) -> str:
    """The net as a prototxt in which no layer works in place.

    The last layer that writes a blob keeps the blob's name, so the outputs keep theirs; what an
    earlier one writes is named for that layer. Everything else stays as it was. A layer that Caffe
    computes otherwise in place than not is warned of (AM720).
    """
    for node in graph.nodes:
        if op_def(node).in_place_differs(node):
            message = "in place Caffe loses the input that shares the top's blob; with a top of its own it counts again"
            collector.add(replace(node_error("AM720", node, message), level=Level.WARNING))
    return prototxt(graph, in_place=False)
