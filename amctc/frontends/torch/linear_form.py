"""Linear layers in the form that AMCT exports them in: Gemm with a bias, else MatMul with a weight [K, N]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def plain_linear(graph: ir.Graph) -> None:
    """Transpose the weights of MatMuls at once, and let a Gemm without a bias be a MatMul.

    A transposed weight keeps the name of the parameter where nothing else reads that; it is a view of the parameter
    until the model is written.
    """
    for node in list(graph):
        if node.op_type == "Transpose" and (weight := _weight(node.inputs[0])) is not None:
            if node.outputs[0].is_graph_output():
                continue
            node.outputs[0].replace_all_uses_with(_transposed(graph, weight))
            graph.remove(node, safe=True)
        elif node.op_type == "Gemm" and len(node.inputs) == 2 and (weight := _weight(node.inputs[1])) is not None:
            if {name: each.value for name, each in node.attributes.items()} | _GEMM == _GEMM:
                node.replace_input_with(1, _transposed(graph, weight))
                node.op_type = "MatMul"
                node.attributes.clear()
    for value in [value for value in graph.initializers.values() if not value.uses() and not value.is_graph_output()]:
        graph.initializers.pop(str(value.name))
    for name, value in list(graph.initializers.items()):
        parameter = value.metadata_props.pop(_PARAMETER, name)
        if parameter not in graph.initializers:
            graph.initializers.pop(name)
            value.name = parameter
            graph.register_initializer(value)


_PARAMETER = "amctc.parameter"
_GEMM = {"transB": 1, "transA": 0, "alpha": 1.0, "beta": 1.0}


def _weight(value: ir.Value | None) -> ir.Value | None:
    """The value, if it is a constant matrix."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    return value if len(value.const_value.shape) == 2 else None


def _transposed(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    import onnx_ir as ir

    name = f"{weight.name}.T"
    found = graph.initializers.get(name)
    if found is not None and found.metadata_props.get(_PARAMETER) == weight.name:
        return found
    assert weight.const_value is not None
    tensor = ir.Tensor(np.transpose(weight.const_value.numpy()), name=name)
    value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    value.metadata_props[_PARAMETER] = str(weight.name)
    graph.register_initializer(value)
    return value
