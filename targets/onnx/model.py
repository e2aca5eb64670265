"""A graph as an ONNX model, in one of its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from amctc.diagnostics import Collector, error
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.shapes import infer_shapes, node_error
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.runtime.lowering.builder import Lowering, Rule, ir_version, opsets_of
from amctc.runtime.lowering.rules import rule_of
from amctc.runtime.lowering.weights import float_operands
from amctc.runtime.plan import needed_nodes
from amctc.targets.onnx.deploy import DEPLOY
from amctc.targets.onnx.exported import AS_LARGE_AS_THE_DATA, export_rule, refusal
from amctc.targets.onnx.fake_quant import FAKE_QUANT
from amctc.targets.onnx.form import Form, float_types
from amctc.targets.onnx.free_batch import free_the_batch
from amctc.targets.onnx.names import one_name_for_sums, value_names
from amctc.targets.onnx.qdq import QdqWriter

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_FLOAT = Form({}, float_operands)
Around: TypeAlias = Callable[[Rule], Rule]


def _as_it_is(rule: Rule) -> Rule:
    return rule


def float_model(graph: Graph) -> ModelProto:
    """The model of a graph that is not quantized. Raises `DiagnosticError` (AM710) as all here."""
    return _model(graph, value_names(graph), lambda: (_FLOAT, _as_it_is))


def deploy_model(graph: Graph, outputs: Sequence[Value] | None = None) -> ModelProto:
    """The model with Ascend's ops. `outputs` are its outputs, as in all here: by default those of the graph."""
    return _model(graph, value_names(graph), lambda: (DEPLOY, _as_it_is), outputs)


def fake_quant_model(graph: Graph, outputs: Sequence[Value] | None = None) -> ModelProto:
    """The model of integers in float32."""
    return _model(graph, value_names(graph), lambda: (FAKE_QUANT, _as_it_is), outputs)


def qdq_model(graph: Graph, outputs: Sequence[Value] | None = None, *, unsigned: bool = True) -> ModelProto:
    """The model of Q/DQ pairs; `unsigned` is for the integers of data."""
    wanted = graph.outputs if outputs is None else outputs

    def form() -> tuple[Form, Around]:
        writer = QdqWriter(graph, wanted, unsigned)
        return writer.form, writer.around

    return _model(graph, one_name_for_sums(graph, value_names(graph)), form, outputs)


def _model(
    graph: Graph,
    names: Mapping[Value, str],
    new_form: Callable[[], tuple[Form, Around]],
    outputs: Sequence[Value] | None = None,
) -> ModelProto:
    """The model of a form; `new_form` makes one that has written nothing yet."""
    from onnx import helper

    wanted = graph.outputs if outputs is None else outputs
    if not wanted:
        help = "take out the layers that only swallow what is computed"
        raise error("AM710", "the model has no outputs, so that in ONNX it would compute nothing", help=help)
    # Without outputs that are asked for the whole graph is written, what nobody reads included.
    nodes = graph.nodes if outputs is None else needed_nodes(graph, outputs)
    _require_rules(nodes, new_form()[0])
    opsets = opsets_of(graph)

    def write(shapes: Mapping[Value, Shape]) -> Lowering:
        form, around = new_form()
        low = Lowering(shapes, float_types(graph), dict(names), opsets, form.operands)
        for node in nodes:
            rule, first = form.rules.get(node.op), len(low.nodes)
            (rule if rule is not None else around(export_rule(node) or rule_of(node)))(low, node)
            _name_nodes(low.nodes[first:], node.name)
        return low

    sources = [value for node in nodes if op_def(node).source for value in node.outputs]
    # Sizes that the model leaves open are in the values where data have said them: rules ask for ranks.
    low = write(infer_shapes(graph, {value.blob: value.shape for value in sources if value.shape is not None}))
    free = free_the_batch(graph, low, write)
    inputs = [_input(low, value, free) for value in sources]
    given = [_output(low, graph, value, free) for value in wanted]
    made = helper.make_graph(low.nodes, graph.name or "amctc", inputs, given, low.initializers())
    imports = [helper.make_opsetid(domain, version) for domain, version in (("", opsets.standard), *opsets.others)]
    return helper.make_model(made, opset_imports=imports, ir_version=ir_version(opsets.standard))


def _name_nodes(written: Sequence[NodeProto], layer: str) -> None:
    """Call the last node that computes for a layer as the layer, and the others after both."""
    computing = [proto for proto in written if proto.op_type != "Identity"] or list(written)
    if written and all(proto.name != layer for proto in written) and not computing[-1].name:
        computing[-1].name = layer
    for index, proto in enumerate(written):
        if not proto.name:
            proto.name = f"{layer}/{proto.op_type}_{index}"


def _require_rules(nodes: Iterable[Node], form: Form) -> None:
    """Raise `DiagnosticError` (AM710) for every layer that ONNX has no form of."""
    collector = Collector()
    for node in nodes:
        found = None if node.op in form.rules else refusal(node)
        if found is not None:
            collector.add(node_error("AM710", node, *found))
    collector.raise_errors()


def _input(low: Lowering, value: Value, free: Mapping[Value, str]) -> ValueInfoProto:
    """An input as its file declares it, with free axes under their names."""
    from onnx import helper

    declared = value.producer.attrs.get("shape")
    shape = declared if isinstance(declared, tuple) and value.producer.dialect == "onnx" else low.shapes.get(value)
    if value.producer.dialect == "onnx" and declared is None:
        shape = None
    return helper.make_tensor_value_info(low.name(value), ONNX_TYPES[value.dtype], _dims(_freed(value, shape, free)))


def _output(low: Lowering, graph: Graph, value: Value, free: Mapping[Value, str]) -> ValueInfoProto:
    from onnx import ValueInfoProto, helper

    number = graph.outputs.index(value) if graph.is_output(value) else len(graph.outputs)
    dtype, shapes = low.dtype(value), graph.attrs.get("output_shapes")
    if dtype not in ONNX_TYPES:
        return ValueInfoProto(name=low.name(value))
    shape = shapes[number] if isinstance(shapes, tuple) and number < len(shapes) else low.shapes.get(value)
    if value.producer.op in AS_LARGE_AS_THE_DATA:
        shape = None
    return helper.make_tensor_value_info(low.name(value), ONNX_TYPES[dtype], _dims(_freed(value, shape, free)))


def _freed(value: Value, shape: object, free: Mapping[Value, str]) -> object:
    return (free[value], *shape[1:]) if value in free and isinstance(shape, tuple) else shape


def _dims(shape: object) -> list[int | str | None] | None:
    if not isinstance(shape, tuple):
        return None
    return [size if isinstance(size, int) else (None if size == "?" else str(size)) for size in shape]
