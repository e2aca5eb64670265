"""LSTM, GRU and RNN of the fake-quant model: a Scan over time that does what the quantized layer does.

AMCT puts the data and the initial state on their grids before a float layer, and leaves the hidden state of each later
step float. Here each step quantizes it, so the numbers are those of the integer layer: integers held in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.onnx.recurrent import INITIAL_C, INITIAL_H, KINDS, LENGTHS, hidden_size
from amctc.dialects.recurrent_grids import OperandGrid
from amctc.dialects.traits import grids_inside, quantizes_inside
from amctc.ir import Node
from amctc.quant.grid import grid_limits
from amctc.runtime.lowering.builder import Lowering
from amctc.runtime.lowering.onnx_nodes import operand_name
from amctc.runtime.lowering.rules import rule_of
from amctc.targets.onnx.recurrent import integers_of, operand_at, size_of_axis, zero_state

Product: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]"
Step: TypeAlias = Callable[[Lowering, int, str, str, Sequence[str]], list[str]]
"""(units, what x adds to the gates, what h adds, the states before) to the states after; all are names."""


def lower_recurrent(low: Lowering, node: Node) -> None:
    """The rule for LSTM, GRU and RNN."""
    if not quantizes_inside(node):
        rule_of(node)(low, node)
        return
    grids, (of_x, of_h) = grids_inside(node), integers_of(node)
    x = low.name(node.inputs[0])
    sums = _product(low, node, x, grids.operands[0], of_x)
    states = [_initial(low, node, position) for position in (INITIAL_H, INITIAL_C)[: KINDS[node.type].states]]
    mask = _mask(low, node, x)
    scanned = [sums] if mask is None else [sums, mask]
    after = _scan(low, node, states, scanned, lambda h: _product(low, node, h, grids.operands[len(node.inputs)], of_h))
    hidden, last = after[-1], _begun(low, node, after[:-1])
    for name, axis, value in zip((hidden, *last), (1, 0, 0), node.outputs, strict=False):
        low.emit("Unsqueeze", [name, _axes(low, node, axis)], low.name(value))


def _product(low: Lowering, node: Node, source: str, grid: OperandGrid, numbers: Product) -> str:
    """Integers of data times integers of weights, plus the bias, times the deq_scale."""
    weight, bias, deq_scales = numbers
    lowest, highest = grid_limits(grid.bits)
    scaled = low.emit("Mul", [source, low.scalar(float(grid.factor), f"{node.name}.factor")])
    limits = (low.scalar(limit - grid.offset, f"{node.name}.limit") for limit in (lowest, highest))
    centred = low.emit("Clip", [low.emit("Round", [scaled]), *limits])
    sums = low.emit("MatMul", [centred, low.constant(weight, f"{node.name}.weight")])
    if bias is not None:
        sums = low.emit("Add", [sums, low.constant(bias, f"{node.name}.bias")])
    return low.emit("Mul", [sums, low.constant(deq_scales, f"{node.name}.deq_scale")])


def _initial(low: Lowering, node: Node, position: int) -> str:
    operand = operand_at(node, position)
    if operand is None:
        return zero_state(low, node, directions=False)
    return low.emit("Squeeze", [operand_name(low, node, operand), _axes(low, node, 0)])


def _mask(low: Lowering, node: Node, x: str) -> str | None:
    """Whether each sequence goes on at each step, bool [T, N, 1]; None where all are as long as the data."""
    operand = operand_at(node, LENGTHS)
    if operand is None:
        return None
    lengths = low.emit("Cast", [operand_name(low, node, operand)], to=ONNX_TYPES["int64"])
    time = low.emit("Squeeze", [size_of_axis(low, x, 0), _axes(low, node, 0)])
    begin, step = (low.constant(np.array(number, np.int64), f"{node.name}.range") for number in (0, 1))
    steps = low.emit("Unsqueeze", [low.emit("Range", [begin, time, step]), _axes(low, node, 1)])
    return low.emit("Unsqueeze", [low.emit("Less", [steps, lengths]), _axes(low, node, 2)])


def _begun(low: Lowering, node: Node, states: list[str]) -> list[str]:
    """The last states, those of empty sequences 0 as ONNX Runtime has it."""
    operand = operand_at(node, LENGTHS)
    if operand is None:
        return states
    zero = low.scalar(0.0, f"{node.name}.zero")
    none = low.constant(np.array(0, np.int32), f"{node.name}.none")
    some = low.emit("Greater", [operand_name(low, node, operand), none])
    begun = low.emit("Unsqueeze", [some, _axes(low, node, 1)])
    return [low.emit("Where", [begun, state, zero]) for state in states]


def _scan(
    low: Lowering, node: Node, states: Sequence[str], scanned: Sequence[str], product: Callable[[str], str]
) -> list[str]:
    """The states after the last step, and h of every step."""
    from onnx import helper

    before = [low.fresh(f"{node.name}.before") for _ in states]
    sums, *mask = (low.fresh(f"{node.name}.now") for _ in scanned)
    around, low.nodes = low.nodes, []
    after = _STEPS[node.type](low, hidden_size(node), sums, product(before[0]), before)
    if mask:
        zero = low.scalar(0.0, f"{node.name}.zero")
        shown = low.emit("Where", [*mask, after[0], zero])
        after = [low.emit("Where", [*mask, new, old]) for new, old in zip(after, before, strict=True)]
    else:
        shown = low.emit("Identity", [after[0]])
    inside, low.nodes = low.nodes, around
    types = [ONNX_TYPES["float32"]] * (len(before) + 1) + [ONNX_TYPES["bool"]] * len(mask)
    given = zip((*before, sums, *mask), types, strict=True)
    inputs = [helper.make_tensor_value_info(name, type, None) for name, type in given]
    results = [helper.make_tensor_value_info(name, ONNX_TYPES["float32"], None) for name in (*after, shown)]
    body = helper.make_graph(inside, low.fresh(f"{node.name}.step"), inputs, results)
    outputs = [low.fresh(f"{node.name}.after") for _ in results]
    low.add(
        helper.make_node("Scan", [*states, *scanned], outputs, name=node.name, body=body, num_scan_inputs=len(scanned))
    )
    return outputs


def _lstm(low: Lowering, units: int, x: str, h: str, states: Sequence[str]) -> list[str]:
    i, o, f, g = _split(low, low.emit("Add", [x, h]), units, 4)
    i, o, f = (low.emit("Sigmoid", [gate]) for gate in (i, o, f))
    kept = low.emit("Mul", [f, states[1]])
    c = low.emit("Add", [kept, low.emit("Mul", [i, low.emit("Tanh", [g])])])
    return [low.emit("Mul", [o, low.emit("Tanh", [c])]), c]


def _gru(low: Lowering, units: int, x: str, h: str, states: Sequence[str]) -> list[str]:
    from_x, from_h = _split(low, x, units, 3), _split(low, h, units, 3)
    z, r = (low.emit("Sigmoid", [low.emit("Add", [from_x[k], from_h[k]])]) for k in range(2))
    new = low.emit("Tanh", [low.emit("Add", [from_x[2], low.emit("Mul", [r, from_h[2]])])])
    left = low.emit("Sub", [low.scalar(1.0, "one"), z])
    return [low.emit("Add", [low.emit("Mul", [left, new]), low.emit("Mul", [z, states[0]])])]


def _rnn(low: Lowering, units: int, x: str, h: str, states: Sequence[str]) -> list[str]:
    return [low.emit("Tanh", [low.emit("Add", [x, h])])]


_STEPS: Mapping[str, Step] = MappingProxyType({"LSTM": _lstm, "GRU": _gru, "RNN": _rnn})


def _split(low: Lowering, gates: str, units: int, count: int) -> list[str]:
    """[N, count * H] as `count` of [N, H]."""
    parts = [low.fresh("gate") for _ in range(count)]
    sizes = low.constant(np.full(count, units, np.int64), "gate_sizes")
    low.emit_many("Split", [gates, sizes], parts, axis=1)
    return parts


def _axes(low: Lowering, node: Node, axis: int) -> str:
    return low.constant(np.array([axis], np.int64), f"{node.name}.axis")
