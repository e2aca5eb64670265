"""Nodes that no input of the graph has a part in: their numbers become constants of the ops that read them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amctc.dialects.onnx.attribute_proto import attribute_protos
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.onnx.inference import opset_of
from amctc.dialects.onnx.operands import operands, split_type
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Array
from amctc.targets.ge.crossing import Crossing, Unsayable

_LARGEST = 1 << 28
"""The most elements of a constant that is computed here."""


def is_constant(c: Crossing, node: Node) -> bool:
    """Whether all that a node reads is constant, and it gives the same each time."""
    domain, _ = split_type(node.type)
    known = bool(node.inputs) and all(value in c.constants for value in node.inputs)
    return known and not domain and not op_def(node).effect


def compute(c: Crossing, node: Node) -> None:
    """What a node gives, with `onnx`'s own reference. Raises `Unsayable` for what this cannot compute."""
    from onnx import NodeProto, helper
    from onnx.reference import ReferenceEvaluator

    if any(math.prod(value.shape or (0,)) > _LARGEST for value in node.outputs):
        raise Unsayable("is constant, and too large to be computed")
    feeds: dict[str, Array] = {}
    names: list[str] = []
    for index, operand in enumerate(operands(node)):
        names.append("" if operand is None else f"x{index}")
        if operand is not None:
            feeds[f"x{index}"] = c.constants[operand] if isinstance(operand, Value) else node.weights[operand]
    outputs = [f"y{index}" for index in range(len(node.outputs))]
    proto = NodeProto(op_type=node.type, input=names, output=outputs)
    proto.attribute.extend(attribute_protos(node.attrs))
    inputs = [helper.make_tensor_value_info(n, ONNX_TYPES[a.dtype.name], a.shape) for n, a in feeds.items()]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    made = helper.make_graph([proto], "constant", inputs, results)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset_of(node))])
    try:
        run: Any = ReferenceEvaluator(model)
        arrays = run.run(None, feeds)
    except Exception as failure:  # of a library: what it cannot compute has no form here either
        raise Unsayable(f"is constant, and cannot be computed: {failure}") from failure
    c.constants.update({value: np.asarray(array) for value, array in zip(node.outputs, arrays, strict=True)})
