"""ONNX's own nodes: written as they are, but for the linear ones whose numbers are integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from amctc.dialects.onnx.attribute_proto import attribute_protos
from amctc.dialects.onnx.operands import (
    CAPTURES,
    INITIALIZERS,
    OWN_ATTRIBUTES,
    Operand,
    captured_values,
    operands,
    split_type,
)
from amctc.dialects.onnx.subgraphs import inner_graphs
from amctc.dialects.table import op_def
from amctc.dialects.traits import inner_products
from amctc.ir import Node, Value
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.integer import convolve_integers, multiply_integers, reads_integers
from amctc.runtime.lowering.sources import lower_constant, lower_source
from amctc.runtime.lowering.weights import dequantized_weight

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def lower_as_it_is(low: Lowering, node: Node) -> None:
    """The node as the file has it, its constants beside it."""
    write_node(low, node, [operand_name(low, node, operand) for operand in operands(node)])


def write_node(low: Lowering, node: Node, inputs: Sequence[str]) -> None:
    """The node with these inputs, in ONNX's order."""
    from onnx import NodeProto

    domain, op_type = split_type(node.type)
    outputs = [low.name(value) for value in node.outputs]
    proto = NodeProto(op_type=op_type, domain=domain, name=node.name, input=inputs, output=outputs)
    proto.attribute.extend(attribute_protos(node.attrs))
    captured = node.attrs.get(CAPTURES)
    outer = captured if isinstance(captured, tuple) else ()
    found = [operand_name(low, node, operand) for operand in captured_values(node)]
    _rename(low, proto, {str(name): now for name, now in zip(outer, found, strict=True)})
    low.add(proto)


def operand_name(low: Lowering, node: Node, operand: Operand) -> str:
    """The ONNX name of an operand; "" for one that is left out."""
    if operand is None:
        return ""
    if isinstance(operand, Value):
        return low.name(operand)
    return low.constant(node.weights[operand], stored_name(node, operand))


def stored_name(node: Node, role: str) -> str:
    """The name that the source's file has for a weight of an ONNX node; one of our own where it has none."""
    stored = node.attrs.get(INITIALIZERS)
    found = stored.get(role) if isinstance(stored, dict) else None
    return found if isinstance(found, str) and found else f"{node.name}.{role}"


def _rename(low: Lowering, node: NodeProto, names: Mapping[str, str]) -> None:
    """Let a node's subgraphs read values of the graph around them under other names."""
    for graph in inner_graphs(node):
        _rename_in_graph(low, graph, names)


def _rename_in_graph(low: Lowering, graph: GraphProto, outer: Mapping[str, str]) -> None:
    """The graph's own values get names that nothing else has: ours for outer values may be the same as the file's."""
    declared: tuple[Any, ...] = (*graph.input, *graph.initializer)
    own = [*(each.name for each in declared), *(name for node in graph.node for name in node.output if name)]
    names = {**outer, **{name: low.fresh(name) for name in dict.fromkeys(own)}}
    del graph.value_info[:]
    for each in (*declared, *graph.output):
        each.name = names.get(each.name, each.name)
    for node in graph.node:
        for fields in (node.input, node.output):
            fields[:] = [names.get(name, name) for name in fields]
        _rename(low, node, names)


def _lower_convolution(low: Lowering, node: Node) -> None:
    """Conv and ConvTranspose as they are; a Conv behind a Quantize is ConvInteger."""
    if op_def(node).linear is None:
        lower_as_it_is(low, node)
    elif reads_integers(low, node):
        # Conv and ConvInteger have the same attributes.
        attrs: dict[str, Any] = {name: value for name, value in node.attrs.items() if name not in OWN_ATTRIBUTES}
        convolve_integers(low, node, attrs)
    else:
        write_node(low, node, [low.name(node.inputs[0]), *low.linear_operands(low, node)])


def _lower_gemm(low: Lowering, node: Node) -> None:
    """Gemm as it is; behind a Quantize MatMulInteger."""
    if op_def(node).linear is None:
        lower_as_it_is(low, node)
    elif reads_integers(low, node):
        multiply_integers(low, node)
    else:
        write_node(low, node, [low.name(node.inputs[0]), *low.linear_operands(low, node)])


def _lower_matmul(low: Lowering, node: Node) -> None:
    """MatMul as it is, and an Add where it has taken a bias in; behind a Quantize MatMulInteger."""
    if op_def(node).linear is None:
        lower_as_it_is(low, node)
        return
    if reads_integers(low, node):
        multiply_integers(low, node)
        return
    weight, *bias = low.linear_operands(low, node)
    if not bias:
        write_node(low, node, [low.name(node.inputs[0]), weight])
        return
    product = low.emit("MatMul", [low.name(node.inputs[0]), weight])
    low.emit("Add", [product, *bias], low.name(node.output))


def _lower_recurrent(low: Lowering, node: Node) -> None:
    """LSTM, GRU and RNN as they are, with the numbers that integer weights stand for.

    One that quantizes inside is a host op's, or has a rule in each form of the quantized model.
    """
    floats = {product.weight: dequantized_weight(node, product.weight) for product in inner_products(node)}
    write_node(
        low,
        node,
        [
            low.constant(floats[operand], f"{node.name}.{operand}")
            if isinstance(operand, str) and operand in floats
            else operand_name(low, node, operand)
            for operand in operands(node)
        ],
    )


ONNX_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "onnx.Input": lower_source,
        "onnx.Constant": lower_constant,
        "onnx.Conv": _lower_convolution,
        "onnx.ConvTranspose": _lower_convolution,
        "onnx.Gemm": _lower_gemm,
        "onnx.MatMul": _lower_matmul,
        "onnx.LSTM": _lower_recurrent,
        "onnx.GRU": _lower_recurrent,
        "onnx.RNN": _lower_recurrent,
    }
)
"""Ops of which more is to be said than what the file says."""
