"""ONNX's LSTM, GRU and RNN that quantize inside, step by step; ONNX Runtime runs those in float.

The product with x is taken for all time steps at once, that with the hidden state one by one: both are sums of
integers, times a deq_scale. Gates and states are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.onnx.operands import operands
from amctc.dialects.onnx.recurrent import INITIAL_C, INITIAL_H, KINDS, LENGTHS, RECURRENCE, WEIGHT, hidden_size
from amctc.dialects.traits import quantizes_inside
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp, Run
from amctc.runtime.hostops.recurrent_products import Floats, product_of, sigmoid

States: TypeAlias = tuple[Floats, ...]
"""[N, H] each: h and, in an LSTM, c."""

Step: TypeAlias = Callable[[Floats, Floats, States], States]
"""(what x adds [N, gates * H], what h adds, the states before) to the states after."""

_ONE = np.float32(1)


class _Layer:
    """One layer, its weights made ready; no state goes from one batch to the next."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._x, self._h = product_of(node, WEIGHT), product_of(node, RECURRENCE)
        self._step = _STEPS[node.type]
        self._units = hidden_size(node)

    def __call__(self, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
        x = inputs[0].astype(np.float32, copy=False)
        time, streams = x.shape[:2]
        lengths = self._operand(LENGTHS, inputs)
        hidden = np.zeros((time, 1, streams, self._units), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            flat = self._x(x.reshape(time * streams, x.shape[2]))
            sums = flat.reshape(time, streams, flat.shape[1])
            states = self._initial(inputs, streams)
            for index in range(time):
                after = self._step(sums[index], self._h(states[0]), states)
                if lengths is None:
                    states, hidden[index, 0] = after, after[0]
                    continue
                goes_on = (index < lengths)[:, np.newaxis]
                states = tuple(np.where(goes_on, new, old) for new, old in zip(after, states, strict=True))
                hidden[index, 0] = np.where(goes_on, after[0], np.float32(0))
        if lengths is not None:  # the last state of an empty sequence is 0 in ONNX Runtime, whatever the first one is
            begun = (lengths > 0)[:, np.newaxis]
            states = tuple(np.where(begun, state, np.float32(0)) for state in states)
        return (hidden, *(state[np.newaxis] for state in states))[: len(self._node.outputs)]

    def _initial(self, inputs: Arrays, streams: int) -> States:
        given = (self._operand(position, inputs) for position in (INITIAL_H, INITIAL_C))
        zeros = np.zeros((streams, self._units), np.float32)
        found = (zeros if array is None else array[0].astype(np.float32, copy=False) for array in given)
        return tuple(found)[: KINDS[self._node.type].states]

    def _operand(self, position: int, inputs: Arrays) -> NDArray[Any] | None:
        found = operands(self._node)
        operand = found[position] if position < len(found) else None
        if isinstance(operand, Value):
            return inputs[self._node.inputs.index(operand)]
        return None if operand is None else self._node.weights[operand]


def _lstm(x: Floats, h: Floats, states: States) -> States:
    """Gates i, o, f, c."""
    units = states[0].shape[1]
    gates = x + h
    opened = sigmoid(gates[:, : 3 * units])
    i, o, f = (opened[:, k * units : (k + 1) * units] for k in range(3))
    c = f * states[1] + i * np.tanh(gates[:, 3 * units :])
    return o * np.tanh(c), c


def _gru(x: Floats, h: Floats, states: States) -> States:
    """Gates z, r, h, the reset behind the product and its bias (`linear_before_reset`)."""
    units = states[0].shape[1]
    opened = sigmoid(x[:, : 2 * units] + h[:, : 2 * units])
    update, reset = opened[:, :units], opened[:, units:]
    new = np.tanh(x[:, 2 * units :] + reset * h[:, 2 * units :])
    return (np.asarray((_ONE - update) * new + update * states[0], np.float32),)


def _rnn(x: Floats, h: Floats, states: States) -> States:
    return (np.tanh(x + h),)


_STEPS: Mapping[str, Step] = MappingProxyType({"LSTM": _lstm, "GRU": _gru, "RNN": _rnn})


def _host_op(type: str) -> HostOp:
    op = f"{ONNX}.{type}"

    def applies(node: Node, dtypes: Mapping[Value, str]) -> bool:
        return node.op == op and quantizes_inside(node)

    def begin(node: Node) -> Run:
        return _Layer(node)

    return HostOp(op, applies, lambda node, inputs, shapes: _Layer(node)(inputs, shapes), begin)


ONNX_RECURRENT_HOST_OPS: tuple[HostOp, ...] = tuple(map(_host_op, _STEPS))
