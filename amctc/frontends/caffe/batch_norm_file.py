"""Reading the running statistics of normalizing layers from a file of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.frontends.caffe.nearest_name import nearest_name
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Node
from amctc.ir.node import Array

_ROLES = ("mean", "variance", "factor")


def read_statistics(path: str | Path, graph: Graph) -> None:
    """Put the blobs of a caffemodel into the graph's BatchNorm layers of the same names; its other layers are ignored.

    Raises `DiagnosticError`, and changes nothing then: AM310 to AM312 for a file that cannot be read, AM313 for a
    layer that it lacks, AM314 for blobs of another number, size or type than the layer's.
    """
    found = read_weights(path)
    collector = Collector()
    nodes = [node for node in graph.nodes if op_def(node).statistics is not None]
    known = {node.name for node in nodes}
    unused = [name for name, blobs in found.items() if blobs and name not in known]
    fitting: dict[Node, Sequence[Array]] = {}
    for node in nodes:
        blobs = found.get(node.name)
        if not blobs:
            help = nearest_name(node.name, unused, collector) or "weights are matched by layer name"
            collector.add(node_error("AM313", node, f"has no statistics in `{path}`", help))
            continue
        problem = _misfit(node, blobs, path)
        if problem is not None:
            collector.add(problem)
            continue
        fitting[node] = blobs
    collector.raise_errors()
    for node, fit in fitting.items():
        for role, blob in zip(_ROLES, fit, strict=True):
            node.weights[role] = blob.reshape(_shape(node, role, blob)).astype(np.float32, copy=False)


def _misfit(node: Node, blobs: Sequence[Array], path: str | Path) -> Diagnostic | None:
    if len(blobs) != len(_ROLES):
        message = f"needs {len(_ROLES)} blobs ({', '.join(_ROLES)}), `{path}` has {len(blobs)}"
        return node_error("AM314", node, message)
    for role, blob in zip(_ROLES, blobs, strict=True):
        size = _size(node, role)
        if size is not None and blob.size != size:
            message = f"its {role} must have {size} numbers, the one in `{path}` has {blob.size}"
            return node_error("AM314", node, message)
        if blob.dtype != np.float32:
            message = f"its {role} must be of float32, the one in `{path}` is of {blob.dtype.name}"
            return node_error("AM314", node, message)
    mean, variance, _ = blobs
    if mean.size != variance.size:
        message = f"its mean has {mean.size} numbers in `{path}`, and its variance {variance.size}"
        return node_error("AM314", node, message)
    return None


def _size(node: Node, role: str) -> int | None:
    """How many numbers a layer needs; None where nothing says it."""
    if role in node.weights:
        return node.weights[role].size
    shape = node.inputs[0].shape
    if role == "factor":
        return 1
    return shape[1] if shape is not None and len(shape) > 1 else None


def _shape(node: Node, role: str, blob: Array) -> tuple[int, ...]:
    return node.weights[role].shape if role in node.weights else (blob.size,)
