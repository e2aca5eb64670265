"""Caffe's recurrent layers as ONNX: a Scan over time, exact for any `cont`.

ONNX's own LSTM and GRU know no `cont`, so they cannot say what these layers do. A model keeps no state from one run to
the next: without `expose_hidden` each run begins with zeros, as Caffe's first batch does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.recurrent import hidden_size, initial_inputs, state_count, static_input
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule, weight_of
from amctc.runtime.lowering.weights import dequantized_weight

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass
class _Body:
    """The graph of one time step; weights are constants of the graph around it."""

    low: Lowering
    prefix: str
    nodes: list[NodeProto] = field(default_factory=list["NodeProto"])

    def name(self, hint: str) -> str:
        return self.low.fresh(f"{self.prefix}/{hint}")

    def emit(self, op_type: str, inputs: Sequence[str], **attrs: Any) -> str:
        return self.emit_many(op_type, inputs, 1, **attrs)[0]

    def emit_many(self, op_type: str, inputs: Sequence[str], count: int, **attrs: Any) -> list[str]:
        from onnx import helper

        outputs = [self.name(op_type.lower()) for _ in range(count)]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, **attrs))
        return outputs

    def product(self, x: str, matrix: str) -> str:
        return self.emit("MatMul", [x, matrix])


_Step = Callable[[_Body, Node, str, str, Sequence[str]], list[str]]
"""(body, layer, sums of the gates, cont [N, 1], states before) to the states after."""


def why_not(node: Node) -> str | None:
    """Why a recurrent layer has no form in ONNX; None where it has one."""
    trait = op_def(node).recurrent
    if trait is not None and trait.is_quantized(node):
        return "quantizes inside, between the time steps, and no form of ONNX says that"
    return None


def lower_recurrent(low: Lowering, node: Node) -> None:
    """The products with x for all time steps at once, and a Scan over the rest."""
    from onnx import TensorProto, helper

    time, streams = low.shape(node.inputs[0])[:2]
    hidden = hidden_size(node)
    body = _Body(low, node.name)
    states = [body.name(word) for word in ("h", "c")[: state_count(node)]]
    sums, cont = body.name("sums"), body.name("cont")
    column = body.emit("Unsqueeze", [cont, low.constant(np.array([1], np.int64), "axes")])
    after = _STEPS[node.type](body, node, sums, column, states)
    top = body.emit("Identity", [after[0]])

    def info(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    gates = weight_of(node, "h_weight").shape[0]
    inputs = [*(info(name, streams, hidden) for name in states), info(sums, streams, gates), info(cont, streams)]
    outputs = [*(info(name, streams, hidden) for name in after), info(top, streams, hidden)]
    graph = helper.make_graph(body.nodes, f"{node.name}.step", inputs, outputs)
    whole = low.fresh(f"{node.name}.hidden") if node.type == "RNN" else low.name(node.output)
    last = [low.fresh(f"{node.name}.last") for _ in states]
    operands = [*_initial(low, node, streams), _sums(low, node, time, streams), low.name(node.inputs[1])]
    scan = helper.make_node("Scan", operands, [*last, whole], name=node.name, body=graph, num_scan_inputs=2)
    low.add(scan)
    if node.type == "RNN":
        product = low.emit("MatMul", [whole, _matrix(low, node, "o_weight")])
        low.emit("Tanh", [low.emit("Add", [product, _bias(low, node, "o_bias")])], low.name(node.output))
    first = low.constant(np.array([0], np.int64), "axes")
    for name, value in zip(last, node.outputs[1:], strict=False):
        low.emit("Unsqueeze", [name, first], low.name(value))


def _sums(low: Lowering, node: Node, time: int, streams: int) -> str:
    """What x and the static input add to the gates, [T, N, gates * H]."""
    x = _flat(low, node, 0, (time, streams))
    found = low.emit("Add", [low.emit("MatMul", [x, _matrix(low, node, "x_weight")]), _bias(low, node, "x_bias")])
    static = static_input(node)
    if static is None:
        return found
    more = low.emit("MatMul", [_flat(low, node, static, (streams,)), _matrix(low, node, "static_weight")])
    return low.emit("Add", [found, more])


def _flat(low: Lowering, node: Node, index: int, head: tuple[int, ...]) -> str:
    """An input with all axes behind `head` as one."""
    value = node.inputs[index]
    shape = low.shape(value)
    if len(shape) == len(head) + 1:
        return low.name(value)
    return low.reshape(low.name(value), (*head, int(np.prod(shape[len(head) :]))))


def _initial(low: Lowering, node: Node, streams: int) -> list[str]:
    given = initial_inputs(node)
    if given:
        first = low.constant(np.array([0], np.int64), "axes")
        return [low.emit("Squeeze", [low.name(node.inputs[index]), first]) for index in given]
    zeros = np.zeros((streams, hidden_size(node)), np.float32)
    return [low.constant(zeros, f"{node.name}.initial") for _ in range(state_count(node))]


def _matrix(low: Lowering, node: Node, role: str, rows: slice = slice(None)) -> str:
    """A weight [Cout, K] as [K, Cout]."""
    matrix: NDArray[np.float32] = np.ascontiguousarray(dequantized_weight(node, role)[rows].T)
    return low.constant(matrix, f"{node.name}.{role}")


def _bias(low: Lowering, node: Node, role: str) -> str:
    return low.constant(weight_of(node, role).astype(np.float32, copy=False), f"{node.name}.{role}")


def _lstm(body: _Body, node: Node, sums: str, cont: str, states: Sequence[str]) -> list[str]:
    h, c = states
    product = body.product(body.emit("Mul", [cont, h]), _matrix(body.low, node, "h_weight"))
    return _unit(body, hidden_size(node), body.emit("Add", [sums, product]), cont, c)


def _unit(body: _Body, units: int, gates: str, cont: str, c: str, axis: int = 1) -> list[str]:
    """h and c of one step from the sums of the gates i, f, o, g."""
    sizes = body.low.constant(np.array([3 * units, units], np.int64), "sizes")
    opened, new = body.emit_many("Split", [gates, sizes], 2, axis=axis)
    thirds = body.low.constant(np.array([units] * 3, np.int64), "sizes")
    i, f, o = body.emit_many("Split", [body.emit("Sigmoid", [opened]), thirds], 3, axis=axis)
    kept = body.emit("Mul", [body.emit("Mul", [cont, f]), c])
    now = body.emit("Add", [kept, body.emit("Mul", [i, body.emit("Tanh", [new])])])
    return [body.emit("Mul", [o, body.emit("Tanh", [now])]), now]


def _rnn(body: _Body, node: Node, sums: str, cont: str, states: Sequence[str]) -> list[str]:
    product = body.product(body.emit("Mul", [cont, states[0]]), _matrix(body.low, node, "h_weight"))
    return [body.emit("Tanh", [body.emit("Add", [sums, product])])]


def _gru(body: _Body, node: Node, sums: str, cont: str, states: Sequence[str]) -> list[str]:
    units, low = hidden_size(node), body.low
    h = body.emit("Mul", [cont, states[0]])
    sizes = low.constant(np.array([2 * units, units], np.int64), "sizes")
    gates, candidate = body.emit_many("Split", [sums, sizes], 2, axis=1)
    product = body.product(h, _matrix(low, node, "h_weight", slice(0, 2 * units)))
    opened = body.emit("Sigmoid", [body.emit("Add", [gates, product])])
    halves = low.constant(np.array([units, units], np.int64), "sizes")
    update, reset = body.emit_many("Split", [opened, halves], 2, axis=1)
    inner = body.product(body.emit("Mul", [reset, h]), _matrix(low, node, "h_weight", slice(2 * units, None)))
    new = body.emit("Tanh", [body.emit("Add", [candidate, inner])])
    return [body.emit("Add", [new, body.emit("Mul", [update, body.emit("Sub", [h, new])])])]


_STEPS: Mapping[str, _Step] = MappingProxyType({"LSTM": _lstm, "RNN": _rnn, "GRU": _gru})


def lower_unit(low: Lowering, node: Node) -> None:
    """LSTMUnit: one step, without a Scan."""
    c, gates, cont = (low.name(value) for value in node.inputs)
    body = _Body(low, node.name)
    column = body.emit("Unsqueeze", [cont, low.constant(np.array([2], np.int64), "axes")])
    h, now = _unit(body, low.shape(node.inputs[0])[2], gates, column, c, axis=2)
    for each in body.nodes:
        low.add(each)
    low.emit("Identity", [now], low.name(node.outputs[0]))
    low.emit("Identity", [h], low.name(node.outputs[1]))


RECURRENT: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.LSTM": lower_recurrent,
        "caffe.RNN": lower_recurrent,
        "caffe.GRU": lower_recurrent,
        "caffe.LSTMUnit": lower_unit,
    }
)
