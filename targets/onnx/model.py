"""A graph as an ONNX model, in one of its forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from amctc.diagnostics import Collector
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.shapes import infer_shapes, node_error
from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.runtime.lowering.builder import Lowering, Rule, ir_version, opsets_of
from amctc.runtime.lowering.rules import RULES, rule_of
from amctc.runtime.lowering.weights import float_operands
from amctc.targets.onnx.deploy import DEPLOY
from amctc.targets.onnx.fake_quant import FAKE_QUANT
from amctc.targets.onnx.form import Form, float_types
from amctc.targets.onnx.names import one_name_for_sums, value_names
from amctc.targets.onnx.qdq import QdqWriter

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_FLOAT = Form({}, float_operands)


def float_model(graph: Graph) -> ModelProto:
    """The model of a graph that is not quantized. Raises `DiagnosticError` (AM710) as all here."""
    return _model(graph, _FLOAT, value_names(graph))


def deploy_model(graph: Graph) -> ModelProto:
    """The model with Ascend's ops."""
    return _model(graph, DEPLOY, value_names(graph))


def fake_quant_model(graph: Graph) -> ModelProto:
    """The model of integers in float32."""
    return _model(graph, FAKE_QUANT, value_names(graph))


def qdq_model(graph: Graph, *, unsigned: bool = True) -> ModelProto:
    """The model of Q/DQ pairs; `unsigned` is for the integers of data."""
    writer = QdqWriter(graph, unsigned)
    return _model(graph, writer.form, one_name_for_sums(graph, value_names(graph)), writer.around)


def _model(
    graph: Graph, form: Form, names: Mapping[Value, str], around: Callable[[Rule], Rule] = lambda rule: rule
) -> ModelProto:
    from onnx import helper

    _require_rules(graph, form)
    opsets = opsets_of(graph)
    low = Lowering(infer_shapes(graph), float_types(graph), dict(names), opsets, form.operands)
    for node in graph.nodes:
        rule = form.rules.get(node.op)
        (rule if rule is not None else around(rule_of(node)))(low, node)
    inputs = [_input(low, value) for node in graph.nodes if op_def(node).source for value in node.outputs]
    outputs = [_output(low, graph, number) for number in range(len(graph.outputs))]
    made = helper.make_graph(low.nodes, graph.name or "amctc", inputs, outputs, low.initializers())
    imports = [helper.make_opsetid(domain, version) for domain, version in (("", opsets.standard), *opsets.others)]
    return helper.make_model(made, opset_imports=imports, ir_version=ir_version(opsets.standard))


def _require_rules(graph: Graph, form: Form) -> None:
    """Raise `DiagnosticError` (AM710) for every layer that ONNX has no form of."""
    collector = Collector()
    for node in graph.nodes:
        if node.op in form.rules or node.dialect == "onnx" or node.op in RULES:
            continue
        help = "write it for another target, or leave the layer out of the model"
        collector.add(node_error("AM710", node, "has no form in ONNX", help))
    collector.raise_errors()


def _input(low: Lowering, value: Value) -> ValueInfoProto:
    """An input as its file declares it, with free axes under their names."""
    from onnx import helper

    declared = value.producer.attrs.get("shape")
    shape = declared if isinstance(declared, tuple) and value.producer.dialect == "onnx" else low.shapes.get(value)
    if value.producer.dialect == "onnx" and declared is None:
        shape = None
    return helper.make_tensor_value_info(low.name(value), ONNX_TYPES[value.dtype], _dims(shape))


def _output(low: Lowering, graph: Graph, number: int) -> ValueInfoProto:
    from onnx import ValueInfoProto, helper

    value = graph.outputs[number]
    dtype, shapes = low.dtype(value), graph.attrs.get("output_shapes")
    if dtype not in ONNX_TYPES:
        return ValueInfoProto(name=low.name(value))
    shape = shapes[number] if isinstance(shapes, tuple) and number < len(shapes) else low.shapes.get(value)
    return helper.make_tensor_value_info(low.name(value), ONNX_TYPES[dtype], _dims(shape))


def _dims(shape: object) -> list[int | str | None] | None:
    if not isinstance(shape, tuple):
        return None
    return [size if isinstance(size, int) else (None if size == "?" else str(size)) for size in shape]
