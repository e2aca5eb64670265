"""LSTM and GRU of the deploy model: AMCT's BasicLSTMInplaceFillWindowCache and BasicGRUInplaceFillWindowCache.

Such a node takes float data and quantizes inside, as its attributes say. There is none for RNN: the data of that are
put on their grid and brought back before it, its weights are the floats of theirs, and it computes in float.
`amctc/frontends/onnx/ascend_recurrent.py` is the other direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.operands import operands
from amctc.dialects.onnx.recurrent import (
    BIAS,
    INITIAL_C,
    INITIAL_H,
    KINDS,
    LENGTHS,
    RECURRENCE,
    WEIGHT,
    hidden_size,
)
from amctc.dialects.recurrent_grids import OperandGrid
from amctc.dialects.traits import grids_inside, quantizes_inside
from amctc.ir import Node
from amctc.quant.deq_scale import pack_deq_scale
from amctc.quant.nibbles import PACKED, pack_pairs
from amctc.runtime.lowering.builder import Lowering
from amctc.runtime.lowering.onnx_nodes import operand_name, write_node
from amctc.runtime.lowering.rules import rule_of
from amctc.targets.onnx.recurrent import float_numbers, operand_at, zero_state

if TYPE_CHECKING:
    from onnx import AttributeProto

AscendNode = Callable[[Lowering, str, OperandGrid], str]
"""Writes AscendQuant and AscendAntiQuant behind a value, and gives the name of what comes out."""

OP_TYPES: Mapping[str, str] = MappingProxyType(
    {"LSTM": "BasicLSTMInplaceFillWindowCache", "GRU": "BasicGRUInplaceFillWindowCache"}
)
_INPUT_AXIS = 2
"""Of W [1, rows, inputs] and R."""
_INT8, _INT16 = 2, 6
"""Numbers of GE's data types."""


def lower_recurrent(on_grid: AscendNode) -> Callable[[Lowering, Node], None]:
    """The rule for LSTM, GRU and RNN."""

    def rule(low: Lowering, node: Node) -> None:
        if not quantizes_inside(node):
            rule_of(node)(low, node)
        elif node.type in OP_TYPES:
            _write_cached(low, node)
        else:
            _write_float(low, node, on_grid)

    return rule


def _write_cached(low: Lowering, node: Node) -> None:
    """x, w, r, h, (c,) b, sequence_lens, no clean_cache, deq_scale."""
    from onnx import NodeProto

    kind = KINDS[node.type]
    states = [_state(low, node, position) for position in (INITIAL_H, INITIAL_C)[: kind.states]]
    inputs = [
        low.name(node.inputs[0]),
        *(low.constant(_stored(node, role), f"{node.name}.{role}") for role in (WEIGHT, RECURRENCE)),
        *states,
        *(operand_name(low, node, operand_at(node, position)) for position in (3, LENGTHS)),
        "",
        low.constant(_deq_scales(node, kind.gates), f"{node.name}.dequant.param"),
    ]
    outputs = [low.name(value) for value in node.outputs]
    outputs += [low.fresh(f"{node.name}.state") for _ in range(1 + kind.states - len(outputs))]
    proto = NodeProto(op_type=OP_TYPES[node.type], name=node.name, input=inputs, output=outputs)
    proto.attribute.extend(_attributes(node))
    low.add(proto)


def _stored(node: Node, role: str) -> NDArray[np.generic]:
    """The integers of W or R; of 4 bits two in a byte, neighbours along the input."""
    weight = node.weights[role]
    packed = node.quant is not None and node.quant.weight is not None and node.quant.weight.bits == PACKED
    return pack_pairs(weight.astype(np.int8), _INPUT_AXIS) if packed else weight


def _state(low: Lowering, node: Node, position: int) -> str:
    """An initial state, which the node must be given."""
    operand = operand_at(node, position)
    return zero_state(low, node, directions=True) if operand is None else operand_name(low, node, operand)


def _deq_scales(node: Node, gates: int) -> NDArray[np.uint64]:
    """Those of W, then those of R; one that is for all rows stands there once for each gate, as AMCT has it."""
    parts = [np.repeat(scale, gates) if scale.size == 1 else scale for scale in grids_inside(node).deq_scales]
    return pack_deq_scale(np.concatenate(parts))


def _attributes(node: Node) -> list[AttributeProto]:
    from onnx import AttributeProto, helper

    grids = grids_inside(node)
    x, h = grids.operands[0], grids.operands[len(node.inputs)]
    own = {"input_forget": 0} if node.type == "LSTM" else {"linear_before_reset": 1}
    values = {
        "hidden_size": hidden_size(node),
        "clip": -1.0,
        "direction": "forward",
        **own,
        "quant_sqrt_mode_x": 0,
        "quant_sqrt_mode_h": 0,
        "quant_scale_x": float(x.factor),
        "quant_offset_x": float(x.offset),
        "quant_scale_h": float(h.factor),
        "quant_offset_h": float(h.offset),
        "quant_dtype": _INT8 if x.bits <= 8 else _INT16,
    }
    empty = {
        "activation_alpha": AttributeProto.FLOATS,
        "activation_beta": AttributeProto.FLOATS,
        "activations": AttributeProto.STRINGS,
    }
    made = [helper.make_attribute(name, value) for name, value in values.items()]
    return [*made, *(AttributeProto(name=name, type=kind) for name, kind in empty.items())]


def _write_float(low: Lowering, node: Node, on_grid: AscendNode) -> None:
    grids, numbers = grids_inside(node), float_numbers(node)
    quantized = {0: grids.operands[0], INITIAL_H: grids.operands[len(node.inputs)]}
    inputs: list[str] = []
    for position, operand in enumerate(operands(node)):
        if isinstance(operand, str) and operand in (WEIGHT, RECURRENCE, BIAS):
            inputs.append(low.constant(numbers[operand], f"{node.name}.{operand}"))
            continue
        name = operand_name(low, node, operand)
        inputs.append(on_grid(low, name, quantized[position]) if name and position in quantized else name)
    write_node(low, node, inputs)
