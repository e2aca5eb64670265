"""A graph of the onnx dialect as one of the caffe dialect."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.ge import GE
from amctc.dialects.onnx.attribute_proto import attribute_protos
from amctc.dialects.onnx.data import DATA_OPS
from amctc.dialects.onnx.element_types import ONNX_TYPES, OPAQUE
from amctc.dialects.onnx.inference import opset_of
from amctc.dialects.shapes import annotate_dtypes, node_error
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.targets.caffe.from_onnx.builder import FLOAT, Crossing, Unsayable
from amctc.targets.caffe.from_onnx.table import RULES

_HELP = "write the model for the target `onnx`, or leave the layer out of it"
_LARGEST = 1 << 28
"""The most elements of a constant that is computed here."""
_INTEGERS = ("int8", "int16", "int32")


def in_caffe(graph: Graph) -> Graph:
    """The graph itself, or, where ONNX nodes are in it, a new one of Caffe layers that gives the same numbers.

    Layers keep the names of the nodes; what one node becomes beside its namesake is named for it. The quant dialect
    stays as it is. Blobs have the sizes of one batch, the declared one or, where that is free, one sample. Raises
    `DiagnosticError` (AM713) with every node that Caffe has no layers for.
    """
    foreign = next((node for node in graph.nodes if node.dialect == GE), None)
    if foreign is not None:
        help = "write it for the target `ge`, or begin with the Caffe or ONNX model that the graph was made from"
        raise DiagnosticError(
            node_error("AM713", foreign, "is an op of GE, and GE graphs are not written for Caffe", help)
        )
    if not any(node.dialect == "onnx" for node in graph.nodes):
        return graph
    annotate_dtypes(graph)
    crossing, collector = Crossing(graph), Collector()
    lost: set[Value] = set()
    for node in graph.nodes:
        if any(value in lost for value in node.inputs):
            lost.update(node.outputs)
            reason = None if node.op in _known() else _unknown(node)
        else:
            reason = _cross(crossing, node)
        if reason is not None:
            collector.add(node_error("AM713", node, reason, _HELP))
            lost.update(node.outputs)
    collector.raise_errors()
    _outputs(crossing, graph)
    _remove_unread(crossing.graph)
    _silence(crossing)
    return crossing.graph


def _known() -> frozenset[str]:
    return frozenset(f"onnx.{name}" for name in RULES) | {row.name for row in DATA_OPS} | {"onnx.Shape"}


def _unknown(node: Node) -> str | None:
    return "has no form in Caffe" if node.dialect == "onnx" else None


def _cross(c: Crossing, node: Node) -> str | None:
    """Write one node; the reason where that cannot be done."""
    try:
        if node.op == "onnx.Input":
            _input(c, node)
        elif node.op == "onnx.Constant":
            c.constants[node.output] = node.weights["value"]
        elif node.dialect != "onnx":
            _take(c, node)
        elif _is_constant(c, node):
            _compute(c, node)
        elif node.type == "Shape":
            _shape(c, node)
        else:
            _check_types(node)
            rule = RULES.get(node.type)
            if rule is None:
                return "has no form in Caffe"
            rule(c, node)
    except Unsayable as reason:
        return str(reason)
    return None


def _input(c: Crossing, node: Node) -> None:
    if node.output.dtype != FLOAT:
        raise Unsayable(f"takes {node.output.dtype}, and Caffe's blobs hold float32")
    shape = node.output.shape
    if shape is None:
        raise Unsayable("has sizes that the model does not say, and Caffe's inputs have fixed ones")
    made = c.layer(node, "Input", [], {"shape": {"dim": shape}})
    made.output.blob = node.output.blob
    c.values[node.output] = made.output


def _take(c: Crossing, node: Node) -> None:
    """A node of the quant dialect, or one that is Caffe's already."""
    inputs = [c.values[value] if value in c.values else c.parameter(node, c.constants[value]) for value in node.inputs]
    c.values.update(zip(node.outputs, c.copy(node, inputs).outputs, strict=True))


def _check_types(node: Node) -> None:
    graph = node.graph
    for value in node.outputs:
        if not (graph.uses(value) or graph.is_output(value)):
            continue
        if value.dtype not in (FLOAT, OPAQUE, *_INTEGERS):
            raise Unsayable(f"gives {value.dtype}, and Caffe's blobs hold float32")
        if value.dtype in _INTEGERS and not any(source.dtype in _INTEGERS for source in node.inputs):
            raise Unsayable(f"gives {value.dtype}, and Caffe's blobs hold float32")


# -- constants -------------------------------------------------------------------------------------


def _is_constant(c: Crossing, node: Node) -> bool:
    return all(value in c.constants for value in node.inputs) and bool(node.outputs)


def _shape(c: Crossing, node: Node) -> None:
    """The sizes of one batch are fixed here."""
    value = c.values[node.inputs[0]]
    if value.shape is None or node.attrs.keys() & {"start", "end"}:
        raise Unsayable("asks for sizes that are not known")
    c.constants[node.output] = np.array(value.shape, np.int64)


def _compute(c: Crossing, node: Node) -> None:
    """A node that no input of the graph has a part in, computed with `onnx`'s own reference."""
    from onnx import NodeProto, helper
    from onnx.reference import ReferenceEvaluator

    if "." in node.type or math.prod(c.wanted_shape(node) or (0,)) > _LARGEST:
        raise Unsayable("is constant, and too large or too strange to be computed")
    feeds: dict[str, Array] = {}
    names: list[str] = []
    for index, operand in enumerate(c.operands(node)):
        names.append("" if operand is None else f"x{index}")
        if isinstance(operand, np.ndarray):
            feeds[f"x{index}"] = operand
    outputs = [f"y{index}" for index in range(len(node.outputs))]
    proto = NodeProto(op_type=node.type, input=names, output=outputs)
    proto.attribute.extend(attribute_protos(node.attrs))
    inputs = [helper.make_tensor_value_info(n, ONNX_TYPES[a.dtype.name], a.shape) for n, a in feeds.items()]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    made = helper.make_graph([proto], "constant", inputs, results)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset_of(node))])
    run: Any = ReferenceEvaluator(model)
    try:
        arrays = run.run(None, feeds)
    except Exception as failure:  # of a library: what it cannot compute has no form here either
        raise Unsayable(f"is constant, and cannot be computed: {failure}") from failure
    c.constants.update({value: np.asarray(array) for value, array in zip(node.outputs, arrays, strict=True)})


# -- afterwards ------------------------------------------------------------------------------------


def _outputs(c: Crossing, graph: Graph) -> None:
    for value in graph.outputs:
        if value in c.constants:
            found = c.parameter(value.producer, c.constants[value])
            found.blob = value.blob
            c.values[value] = found
    c.graph.outputs = [c.values[value] for value in graph.outputs]


def _remove_unread(graph: Graph) -> None:
    """Take out what nobody reads: to Caffe it would be outputs of the net."""
    for node in reversed(graph.nodes):
        kept = node.op in ("caffe.Input", "caffe.Silence")
        if not kept and not any(graph.uses(value) or graph.is_output(value) for value in node.outputs):
            graph.remove(node)


def _silence(c: Crossing) -> None:
    """Let a Silence read the tops that nobody reads, of layers that have others too, and the inputs."""
    graph = c.graph
    tops = (value for node in graph.nodes for value in node.outputs)
    unread = [value for value in tops if not (graph.uses(value) or graph.is_output(value))]
    if unread:
        graph.add(c.free_name("unread"), "caffe.Silence", unread, ())
