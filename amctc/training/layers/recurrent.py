"""LSTM, RNN, GRU and LSTMUnit, step by step. The arithmetic is that of `amctc.runtime.hostops.recurrent`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.recurrent import hidden_size, initial_inputs, state_count, static_input
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors

Step: TypeAlias = Callable[[Tensor, Tensor, Tensors, Tensor], Tensors]
"""(what x adds [N, gates * H], cont [N, 1], the states before [N, H], W_h) to the states after: h and perhaps c."""

_STATES = "states"


def recurrent(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """A recurrent layer over the first axis. Without `expose_hidden` it goes on from the batch before.

    The gradient ends at the first step of a batch, but for initial states that are inputs.
    """
    node, step = layer.node, _STEPS[layer.node.type]
    streams, units = shapes[0][1], hidden_size(node)
    static, initial = static_input(node), initial_inputs(node)
    w_x, b_x, w_h = (layer.weight_reader(role) for role in ("x_weight", "x_bias", "h_weight"))
    w_static = layer.weight_reader("static_weight") if static is not None else None
    w_o, b_o = (layer.weight_reader(role) if node.type == "RNN" else None for role in ("o_weight", "o_bias"))

    def sums_of(inputs: Tensors) -> Tensor:
        sums = functional.linear(inputs[0].flatten(2), w_x(), b_x())
        if static is None or w_static is None:
            return sums
        return sums + functional.linear(inputs[static].flatten(1), w_static())

    def first_states(inputs: Tensors) -> Tensors:
        if initial:
            return tuple(inputs[index][0] for index in initial)
        last = layer.memory.get(_STATES, ())
        if last and last[0].shape[0] == streams:
            return last
        return (inputs[0].new_zeros(streams, units),) * state_count(node)

    def run(inputs: Tensors) -> Tensors:
        sums, cont, hidden_weight = sums_of(inputs), inputs[1].detach().unsqueeze(-1), w_h()
        states, hidden = first_states(inputs), list[Tensor]()
        for index in range(shapes[0][0]):
            states = step(sums[index], cont[index], states, hidden_weight)
            hidden.append(states[0])
        layer.memory[_STATES] = tuple(state.detach() for state in states)
        tops = torch.stack(hidden)
        if w_o is not None and b_o is not None:
            tops = torch.tanh(functional.linear(tops, w_o(), b_o()))
        return (tops, *(state.unsqueeze(0) for state in states[: len(node.outputs) - 1]))

    return run


def _lstm(sums: Tensor, cont: Tensor, states: Tensors, weight: Tensor) -> Tensors:
    h, c = states
    return _lstm_unit(sums + functional.linear(cont * h, weight), cont, c)


def _rnn(sums: Tensor, cont: Tensor, states: Tensors, weight: Tensor) -> Tensors:
    return (torch.tanh(sums + functional.linear(cont * states[0], weight)),)


def _gru(sums: Tensor, cont: Tensor, states: Tensors, weight: Tensor) -> Tensors:
    h = cont * states[0]
    units = h.shape[1]
    opened = torch.sigmoid(sums[:, : 2 * units] + functional.linear(h, weight[: 2 * units]))
    update, reset = opened[:, :units], opened[:, units:]
    new = torch.tanh(sums[:, 2 * units :] + functional.linear(reset * h, weight[2 * units :]))
    return (new + update * (h - new),)


def _lstm_unit(gates: Tensor, cont: Tensor, c: Tensor) -> Tensors:
    """One step from the sums of the gates i, f, o, g [N, 4H]: the new h and c."""
    i, f, o, g = gates.chunk(4, dim=1)
    c = cont * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_unit(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """One time step of an LSTM from the sums of its gates."""

    def run(inputs: Tensors) -> Tensors:
        h, c = _lstm_unit(inputs[1][0], inputs[2][0].detach().unsqueeze(-1), inputs[0][0])
        return c.unsqueeze(0), h.unsqueeze(0)

    return run


_STEPS: Mapping[str, Step] = MappingProxyType({"LSTM": _lstm, "RNN": _rnn, "GRU": _gru})

RECURRENT_RULES: Mapping[str, Rule] = MappingProxyType(
    {**{f"caffe.{kind}": recurrent for kind in _STEPS}, "caffe.LSTMUnit": lstm_unit}
)
