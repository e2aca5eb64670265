"""Computing at once what an exported graph computes of its parameters and of sizes that are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx_ir as ir

_ANY: Final = 1 << 62
MOST_ELEMENTS: Final = 1 << 26
"""No constant of more elements is made that is larger than what it is made of."""
_STATES: Final = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""The positions of the initial states."""


def fold_constants(model: ir.Model) -> None:
    """Fold constants, drop initial states of zeros, which are what an LSTM has without them, and what is unread then.

    An LSTM's weights are exported as slices of parameters, in another order of gates; after this they are constants.
    Nodes keep their names.
    """
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants as fold

    fold(model, onnx_shape_inference=True, input_size_limit=_ANY, output_size_limit=_ANY, should_fold=_should_fold)
    for node in model.graph:
        for position in _STATES.get(node.op_type, ()):
            if position < len(node.inputs) and _is_zero(node.inputs[position]):
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


def _is_zero(value: ir.Value | None) -> bool:
    """Whether all elements are zeros, however many they are."""
    while value is not None and value.const_value is None:
        node = value.producer()
        if node is None or node.op_type not in ("Expand", "Slice", "Identity"):
            return False
        value = node.inputs[0]
    return value is not None and value.const_value is not None and not value.const_value.numpy().any()
