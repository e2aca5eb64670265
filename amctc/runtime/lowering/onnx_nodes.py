"""ONNX's own nodes: written as they are, but for the linear ones whose numbers are integers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from amctc.dialects.onnx.attribute_proto import attribute_protos
from amctc.dialects.onnx.operands import CAPTURES, OWN_ATTRIBUTES, Operand, captured_values, operands, split_type
from amctc.ir import Node, Value
from amctc.ir.node import Array
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.integer import convolve_integers, dequantized_weight, multiply_integers, reads_integers

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_BIAS = "bias"


def lower_as_it_is(low: Lowering, node: Node) -> None:
    """The node as the file has it, its constants beside it."""
    _write(low, node, {})


def _write(low: Lowering, node: Node, weights: Mapping[str, Array]) -> None:
    """The node with some of its weights replaced by others."""
    from onnx import NodeProto

    domain, op_type = split_type(node.type)
    inputs = [_operand(low, node, operand, weights) for operand in operands(node)]
    outputs = [low.name(value) for value in node.outputs]
    proto = NodeProto(op_type=op_type, domain=domain, name=node.name, input=inputs, output=outputs)
    proto.attribute.extend(attribute_protos(node.attrs))
    captured = node.attrs.get(CAPTURES)
    if isinstance(captured, tuple):
        found = [_operand(low, node, operand, weights) for operand in captured_values(node)]
        _rename(proto, {str(name): now for name, now in zip(captured, found, strict=True) if name != now})
    low.add(proto)


def _operand(low: Lowering, node: Node, operand: Operand, weights: Mapping[str, Array]) -> str:
    if operand is None:
        return ""
    if isinstance(operand, Value):
        return low.name(operand)
    array = weights[operand] if operand in weights else node.weights[operand]
    return low.constant(array, f"{node.name}.{operand}")


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Let a node's subgraphs read values of the graph around them under other names."""
    for attribute in node.attribute:
        for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            _rename_in_graph(graph, names)


def _rename_in_graph(graph: GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        _rename(node, names)
    for value in graph.output:
        if value.name in names:
            value.name = names[value.name]


def _lower_convolution(low: Lowering, node: Node) -> None:
    """Conv and ConvTranspose as they are; a Conv behind a Quantize is ConvInteger."""
    if reads_integers(low, node):
        convolve_integers(low, node, _window_attributes(node))
        return
    _write(low, node, _float_weights(node))


def _lower_gemm(low: Lowering, node: Node) -> None:
    """Gemm as it is; behind a Quantize MatMulInteger."""
    if reads_integers(low, node):
        multiply_integers(low, node)
        return
    _write(low, node, _float_weights(node))


def _lower_matmul(low: Lowering, node: Node) -> None:
    """MatMul as it is, and an Add where it has taken a bias in; behind a Quantize MatMulInteger."""
    if reads_integers(low, node) and len(node.inputs) == 1:
        multiply_integers(low, node)
        return
    bias = node.weights.get(_BIAS)
    if bias is None or len(node.inputs) != 1:
        _write(low, node, _float_weights(node))
        return
    weight = low.constant(dequantized_weight(node), f"{node.name}.weight")
    product = low.emit("MatMul", [low.name(node.inputs[0]), weight])
    shift = low.constant(bias.astype(np.float32, copy=False), f"{node.name}.bias")
    low.emit("Add", [product, shift], low.name(node.output))


def _window_attributes(node: Node) -> dict[str, Any]:
    """The attributes that Conv and ConvInteger share: all that Conv has."""
    return {name: value for name, value in node.attrs.items() if name not in OWN_ATTRIBUTES}


def _float_weights(node: Node) -> dict[str, Array]:
    """The weights that a layer on float data computes with, if they are integers or on their way to be."""
    weight = node.weights.get("weight")
    if weight is None or weight.dtype == np.float32 or len(node.inputs) != 1:
        return {}
    found: dict[str, Array] = {"weight": dequantized_weight(node)}
    bias = node.weights.get(_BIAS)
    if bias is not None:
        found[_BIAS] = bias.astype(np.float32, copy=False)
    return found


def _lower_constant(low: Lowering, node: Node) -> None:
    low.emit("Identity", [low.constant(node.weights["value"], f"{node.name}.value")], low.name(node.output))


def _lower_input(low: Lowering, node: Node) -> None:
    """Nothing: an input of the graph is fed."""


ONNX_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "onnx.Input": _lower_input,
        "onnx.Constant": _lower_constant,
        "onnx.Conv": _lower_convolution,
        "onnx.ConvTranspose": _lower_convolution,
        "onnx.Gemm": _lower_gemm,
        "onnx.MatMul": _lower_matmul,
    }
)
"""Ops of which more is to be said than what the file says."""
