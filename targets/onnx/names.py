"""The names that values have in an ONNX file: those of the source."""

from __future__ import annotations

from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.runtime.lowering.builder import unused_name


def value_names(graph: Graph) -> dict[Value, str]:
    """A name for each value: its blob's, for an input of the net, else for the last value of that blob.

    The others of a blob (what an in-place layer overwrites, sums before they are dequantized) are numbered.
    """
    names: dict[Value, str] = {}
    taken: set[str] = set()
    counts: dict[str, int] = {}
    values = [value for node in reversed(graph.nodes) for value in reversed(node.outputs)]
    inputs = [value for node in graph.nodes if op_def(node).source for value in node.outputs]
    for value in (*inputs, *graph.outputs, *values):
        if value not in names:
            names[value] = unused_name(value.blob or value.name, taken, counts)
    return names


def one_name_for_sums(graph: Graph, names: dict[Value, str]) -> dict[Value, str]:
    """The same names, but one for the two sides of a Dequantize: in a form where it does nothing."""
    found = dict(names)
    for node in graph.nodes:
        if node.op == "quant.Dequantize" and graph.has_single_use(node.inputs[0]):
            found[node.inputs[0]] = names[node.output]
    return found
