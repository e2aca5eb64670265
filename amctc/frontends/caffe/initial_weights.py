"""The weights that a net begins with: those of a file, and what fillers give where it has none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amctc.diagnostics import Collector
from amctc.dialects.table import is_custom, op_def
from amctc.frontends.caffe.attach_weights import Blobs, attach_weights
from amctc.frontends.caffe.random_fillers import fill
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape


def begin_weights(
    graph: Graph, shapes: Mapping[Value, Shape], found: Blobs, file: str, draw: np.random.Generator
) -> tuple[str, ...]:
    """Give every node its weights, as Caffe does it, and name the layers with weights that a file lacks.

    `found` are the blobs of a weights file, none for no file; layers that it lacks keep what they have, or begin with
    what their fillers give, with random numbers from `draw`. Raises `DiagnosticError`: AM314 where blobs do not fit,
    AM672 for a filler that is not known.
    """
    rest = {
        node.name: tuple(node.weights.values()) or _filled(node, shapes, draw)
        for node in graph.nodes
        if node.name not in found or not found[node.name]
    }
    own = {name: blobs for name, blobs in rest.items() if blobs}
    # A file's blobs come last: of layers that share a parameter, the last one counts.
    collector = Collector()
    attach_weights(graph, {**own, **{n: b for n, b in found.items() if b}}, shapes, file, collector)
    collector.raise_errors()
    return tuple(own) if found else ()


def _filled(node: Node, shapes: Mapping[Value, Shape], draw: np.random.Generator) -> tuple[Array, ...]:
    if op_def(node).dialect == "quant" or is_custom(node):
        return ()
    if not all(value in shapes for value in node.inputs):
        return ()
    wanted = op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs))
    return tuple(fill(node, role, shape, draw) for role, shape in wanted.items())
