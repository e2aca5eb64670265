"""LSTM, RNN and GRU, step by step.

The products with x are taken for all time steps at once, those with the hidden state one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from amctc.dialects.caffe.recurrent import hidden_size, initial_inputs, state_count, static_input
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp, Run, for_op
from amctc.runtime.hostops.recurrent_products import Floats, Multiply, product_of, sigmoid

States: TypeAlias = tuple[Floats, ...]
"""[N, H] each: h and, in an LSTM, c."""

Step: TypeAlias = Callable[[Floats, Floats, States], States]
"""(what x adds [N, gates * H], cont [N, 1], the states before) to the states after."""


class _Layer:
    """One recurrent layer while an executor runs batch after batch: it goes on from its last states."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._step = _STEPS[node.type](node)
        self._x = product_of(node, "x_weight")
        self._static = static_input(node)
        self._static_product = product_of(node, "static_weight") if self._static is not None else None
        self._output = product_of(node, "o_weight") if node.type == "RNN" else None
        self._initial = initial_inputs(node)
        self._hidden = hidden_size(node)
        self._last: States = ()

    def __call__(self, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
        floats = tuple(array.astype(np.float32, copy=False) for array in inputs)
        time, streams = floats[0].shape[:2]
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self._sums(floats)
            states = self._states(floats, streams)
            hidden = np.empty((time, streams, self._hidden), np.float32)
            for index in range(time):
                states = self._step(sums[index], floats[1][index][:, None], states)
                hidden[index] = states[0]
            self._last = states
            tops = hidden if self._output is None else self._project(self._output, hidden)
        return (tops, *(state[None] for state in states[: len(shapes) - 1]))

    def _sums(self, inputs: tuple[Floats, ...]) -> Floats:
        """What x and the static input add to the gates, [T, N, gates * H]."""
        x = inputs[0]
        flat = self._x(_matrix(x, 2))
        sums = flat.reshape(*x.shape[:2], flat.shape[1])
        if self._static is None or self._static_product is None:
            return sums
        return sums + self._static_product(_matrix(inputs[self._static], 1))

    def _states(self, inputs: tuple[Floats, ...], streams: int) -> States:
        if self._initial:
            return tuple(inputs[index][0] for index in self._initial)
        if self._last and len(self._last[0]) == streams:
            return self._last
        return (np.zeros((streams, self._hidden), np.float32),) * state_count(self._node)

    def _project(self, output: Multiply, hidden: Floats) -> Floats:
        return np.tanh(output(_matrix(hidden, 2))).reshape(hidden.shape)


def _matrix(array: Floats, axes: int) -> Floats:
    """The first `axes` axes as one, the rest as the other; either may be empty."""
    rows, columns = array.shape[:axes], array.shape[axes:]
    return array.reshape(int(np.prod(rows)), int(np.prod(columns)))


def _lstm(node: Node) -> Step:
    product = product_of(node, "h_weight")

    def step(sums: Floats, cont: Floats, states: States) -> States:
        h, c = states
        return _lstm_unit(sums + product(cont * h), cont, c)

    return step


def _rnn(node: Node) -> Step:
    product = product_of(node, "h_weight")

    def step(sums: Floats, cont: Floats, states: States) -> States:
        return (np.tanh(sums + product(cont * states[0])),)

    return step


def _gru(node: Node) -> Step:
    units = hidden_size(node)
    gates = product_of(node, "h_weight", slice(0, 2 * units))
    candidate = product_of(node, "h_weight", slice(2 * units, None))

    def step(sums: Floats, cont: Floats, states: States) -> States:
        h: Floats = cont * states[0]
        opened = sigmoid(sums[:, : 2 * units] + gates(h))
        update, reset = opened[:, :units], opened[:, units:]
        new: Floats = np.tanh(sums[:, 2 * units :] + candidate(reset * h))
        return (np.asarray(new + update * (h - new), np.float32),)

    return step


_STEPS: dict[str, Callable[[Node], Step]] = {"LSTM": _lstm, "RNN": _rnn, "GRU": _gru}


def _lstm_unit(gates: Floats, cont: Floats, c: Floats) -> States:
    """One step of an LSTM from the sums of its gates i, f, o, g [N, 4H]: the new h and c."""
    units = c.shape[1]
    opened = sigmoid(gates[:, : 3 * units])
    i, f, o = (opened[:, k * units : (k + 1) * units] for k in range(3))
    c = cont * f * c + i * np.tanh(gates[:, 3 * units :])
    return o * np.tanh(c), c


def _run_unit(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    c, gates, cont = (array[0].astype(np.float32, copy=False) for array in inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        h, c = _lstm_unit(gates, cont[:, None], c)
    return c[None], h[None]


def _recurrent(kind: str) -> HostOp:
    def begin(node: Node) -> Run:
        return _Layer(node)

    return HostOp(
        f"caffe.{kind}",
        lambda node, dtypes: node.op == f"caffe.{kind}",
        lambda node, inputs, shapes: _Layer(node)(inputs, shapes),
        begin,
    )


RECURRENT_HOST_OPS: tuple[HostOp, ...] = (*map(_recurrent, _STEPS), for_op("caffe.LSTMUnit", _run_unit))
