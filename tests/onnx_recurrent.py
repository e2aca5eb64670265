"""Small ONNX models of one recurrent layer, and what such a layer is by definition, quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from amctc.ir import Node
from tests.onnx_nets import make_model, normal

UNITS, WIDTH = 6, 5
GATES: Mapping[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
KINDS = tuple(GATES)


@dataclass(frozen=True)
class Net:
    """A model with one layer `rec`. `initial` and `lengths`: None, `fed` (inputs of the graph) or `constant`."""

    kind: str
    bias: bool = True
    initial: str | None = None
    lengths: str | None = None
    attributes: str = ""
    reset_first: bool = False
    outputs: tuple[str, ...] = ("y", "h", "c")
    width: int = WIDTH

    def model(self, opset: int = 17) -> ModelProto:
        states = ("h0", "c0") if self.kind == "LSTM" else ("h0",)
        inputs = [f"float[T, N, {self.width}] x"]
        weights = self.weights()
        operands = [
            "x",
            "W",
            "R",
            "B" if self.bias else "",
            "len" if self.lengths else "",
            *(states if self.initial else ()),
        ]
        if self.initial == "fed":
            inputs += [f"float[1, N, {UNITS}] {state}" for state in states]
        if self.lengths == "fed":
            inputs.append("int32[N] len")
        while not operands[-1]:
            operands.pop()
        attributes = f"hidden_size = {UNITS}{self.attributes}"
        if self.kind == "GRU" and not self.reset_first:
            attributes += ", linear_before_reset = 1"
        shown = self.names()
        kept = [
            f"float[T, 1, N, {UNITS}] y" if name == "y" else f"float[1, N, {UNITS}] {name}" for name in shown if name
        ]
        body = f"{', '.join(name or EMPTY for name in shown)} = {self.kind} <{attributes}> ({', '.join(operands)})"
        model = make_model(f"({', '.join(inputs)}) => ({', '.join(kept)})", body, weights, opset)
        (layer,) = model.graph.node
        layer.name = "rec"
        layer.output[:] = [name if name != EMPTY else "" for name in layer.output]
        return model

    def names(self) -> tuple[str, ...]:
        """The names of the layer's outputs; "" for one that is left out."""
        every = ("y", "h", "c")[: 3 if self.kind == "LSTM" else 2]
        found = [name if name in self.outputs else "" for name in every]
        while not found[-1]:
            found.pop()
        return tuple(found)

    def weights(self) -> dict[str, NDArray[Any]]:
        rows = GATES[self.kind] * UNITS
        found: dict[str, NDArray[Any]] = {
            "W": 0.5 * normal((1, rows, self.width), 1) * np.linspace(0.3, 2, rows, dtype=np.float32)[:, np.newaxis],
            "R": 0.5 * normal((1, rows, UNITS), 2),
        }
        if self.bias:
            found["B"] = 0.3 * normal((1, 2 * rows), 3)
        if self.initial == "constant":
            found["h0"] = 0.5 * normal((1, 3, UNITS), 4)
            if self.kind == "LSTM":
                found["c0"] = 0.5 * normal((1, 3, UNITS), 5)
        if self.lengths == "constant":
            found["len"] = np.array([2, 7, 4], np.int32)
        return found

    def feeds(self, seed: int, time: int = 7, streams: int = 3) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {"x": normal((time, streams, self.width), seed)}
        if self.initial == "fed":
            found["h0"] = 0.5 * normal((1, streams, UNITS), seed + 1)
            if self.kind == "LSTM":
                found["c0"] = 0.5 * normal((1, streams, UNITS), seed + 2)
        if self.lengths == "fed":
            found["len"] = np.random.default_rng(seed).integers(1, time + 1, streams).astype(np.int32)
        return found


EMPTY = "left_out"


def by_definition(net: Net, node: Node, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """The outputs of a quantized layer: integer sums in int64, gates by ONNX's formulas in float64.

    A factor is float32, as the hidden state is before it is quantized: rounding decides there.
    """
    assert node.quant is not None and node.quant.weight is not None
    given = {**net.weights(), **feeds}
    w, r = (node.weights[role][0].astype(np.int64) for role in ("W", "R"))
    bias = node.weights.get("B", np.zeros((1, 2 * len(w)))).astype(np.int64)[0]
    scales = node.quant.weight.scales

    def product(
        index: int, data: NDArray[Any], weight: NDArray[np.int64], addend: NDArray[np.int64], role: str
    ) -> NDArray[np.float64]:
        assert node.quant is not None
        grid = node.quant.operand(index)
        assert grid.scale is not None and grid.offset is not None
        low, high = -(1 << (grid.bits - 1)), (1 << (grid.bits - 1)) - 1
        steps = np.rint(data.astype(np.float32) * (np.float32(1) / np.float32(grid.scale))).astype(np.int64)
        centred = np.clip(steps + grid.offset, low, high) - grid.offset
        sums = centred @ weight.T + addend
        return np.asarray(sums * (grid.scale * scales[role].astype(np.float64)))

    x = given["x"]
    time, streams = x.shape[:2]
    zeros = np.zeros((1, streams, UNITS))
    h, c = (np.asarray(given.get(name, zeros)[0], np.float64) for name in ("h0", "c0"))
    lengths = given.get("len", np.full(streams, time))
    shown = np.zeros((time, 1, streams, UNITS))
    half = len(w)
    for step in range(time):
        a = product(0, x[step], w, bias[:half], "W")
        b = product(len(node.inputs), h, r, bias[half:], "R")
        new_h, new_c = _step(net.kind, a, b, h, c)
        goes_on = (step < lengths)[:, np.newaxis]
        h, c = np.where(goes_on, new_h, h), np.where(goes_on, new_c, c)
        shown[step, 0] = np.where(goes_on, new_h, 0)
    found = {"y": shown, "h": h[np.newaxis], "c": c[np.newaxis]}
    return {name: found[name] for name in net.names() if name}


def _step(
    kind: str, a: NDArray[np.float64], b: NDArray[np.float64], h: NDArray[np.float64], c: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if kind == "RNN":
        return np.tanh(a + b), c
    if kind == "GRU":
        (az, ar, an), (bz, br, bn) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
        z, r = _sigmoid(az + bz), _sigmoid(ar + br)
        return (1 - z) * np.tanh(an + r * bn) + z * h, c
    i, o, f, g = np.split(a + b, 4, axis=1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def sqnr(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """Signal to quantization noise, in dB."""
    signal, noise = wanted.astype(np.float64), (wanted - found).astype(np.float64)
    return float(10 * np.log10(np.square(signal).sum() / np.square(noise).sum()))
