"""Computing at once what an exported graph computes of its parameters and of sizes that are known."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx_ir as ir

_ANY: Final = 1 << 62
MOST_ELEMENTS: Final = 1 << 26
"""No constant of more elements is made that is larger than what it is made of."""
_ZEROS: Final = {"Conv": (2,), "ConvTranspose": (2,), "GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
"""The positions of what is zero where it is left out: biases and initial states."""


def fold_constants(model: ir.Model) -> None:
    """Fold constants, leave out biases and initial states that the exporter made of zeros, and what is unread then.

    An LSTM's weights are exported as slices of parameters, in another order of gates; after this they are constants.
    """
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants as fold

    parameters = set(model.graph.initializers)
    fold(model, onnx_shape_inference=True, input_size_limit=_ANY, output_size_limit=_ANY, should_fold=_should_fold)
    for node in model.graph:
        for position in _ZEROS.get(node.op_type, ()):
            if position < len(node.inputs) and _is_zero(node.inputs[position], parameters):
                node.replace_input_with(position, None)
    common.RemoveUnusedNodesPass()(model)


def _should_fold(node: ir.Node) -> bool:
    """Whether the result is small, or no larger than what it is made of: few bytes can ask for any number of zeros."""
    shape = node.outputs[0].shape
    if shape is None or not shape.is_static():
        return node.op_type in _NO_LARGER and len(node.inputs) > 0
    sources = (value.const_value for value in node.inputs if value is not None)
    given = sum(tensor.size for tensor in sources if tensor is not None)
    return math.prod(shape.numpy()) <= max(given, MOST_ELEMENTS)


_NO_LARGER: Final = frozenset({"Cast", "CastLike", "Concat", "Reshape", "Slice", "Sqrt", "Squeeze", "Unsqueeze"})


def _is_zero(value: ir.Value | None, parameters: Container[str | None]) -> bool:
    """Whether all elements are zeros, however many they are, and none is a parameter's."""
    while value is not None and value.const_value is None:
        node = value.producer()
        if node is None or node.op_type not in ("Expand", "Slice", "Identity"):
            return False
        value = node.inputs[0]
    if value is None or value.const_value is None or value.name in parameters:
        return False
    return not value.const_value.numpy().any()
