"""The deploy model of a trained network in the form that a converter takes: it is fed through Input layers."""

from __future__ import annotations

from amctc.dialects.caffe.become import INPUT, become_input
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.targets.caffe.files import prototxt

ENDING = "atc_model.prototxt"
"""What the name of its file ends with; its weights are those of the deploy model."""


def ready_to_convert(graph: Graph) -> tuple[str, tuple[str, ...]]:
    """The prototxt of a quantized graph whose data layers are Input layers, and those of them with an unknown shape.

    The latter stay data layers. Tops that nothing reads, labels, are left out, and layers that only give such ones.
    The graph is changed.
    """
    unknown: list[str] = []
    for node in [node for node in graph.nodes if not node.inputs]:
        read = _read_tops(graph, node)
        shapes = tuple(value.shape for value in node.outputs[:read])
        if not read and not set(node.outputs) & set(graph.outputs):
            graph.remove(node)
        elif not op_def(node).source or node.op == INPUT:
            continue
        elif any(shape is None or 0 in shape for shape in shapes):
            unknown.append(node.name)
        else:
            become_input(node, tuple(shape for shape in shapes if shape is not None))
            node.record("ready-to-convert", "was a layer that reads data")
    return prototxt(graph, fake=False), tuple(unknown)


def _read_tops(graph: Graph, node: Node) -> int:
    """How many outputs of a node there are up to the last that is read."""
    return max((value.index + 1 for value in node.outputs if graph.uses(value)), default=0)
