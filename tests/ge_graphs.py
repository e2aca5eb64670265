"""Graphs of the ge dialect, built op by op in either layout and type, and written and read back for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.air.files import air_bytes
from amctc.air.schema import ModelDef, new
from amctc.air.verify import verify_air
from amctc.diagnostics import Collector
from amctc.dialects.ge.slots import AIR, NCHW, NHWC, note
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends.ge.load import graph_of_model
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape
from amctc.targets.ge.ascend import AscendForm
from amctc.targets.ge.crossing import in_ge
from amctc.targets.ge.model import model_message
from amctc.text.plain import Plain

__all__ = [
    "NCHW",
    "NHWC",
    "Floats",
    "GeNet",
    "assert_same_graph",
    "op_of",
    "ops_of",
    "read",
    "read_back",
    "to_layout",
    "to_nchw",
    "written",
]

Floats: TypeAlias = NDArray[np.float32]

_FILE_ONLY = ("op", "constants", "quant")
"""What `air` holds to write a file again as it was."""
_NOT_WRITTEN = ("layer", "index")
"""What the quant dialect has beside what a file of GE holds."""


class GeNet:
    """Adds ops with random weights to a graph; the same numbers come out whatever the layout and the type are.

    Shapes are said as for NCHW. `dtype` is that of data and weights.
    """

    def __init__(self, layout: str = NCHW, dtype: str = "float32", seed: int = 0) -> None:
        self.graph = Graph("net")
        self.layout = layout
        self.dtype = dtype
        self.rng = np.random.default_rng(seed)

    def data(self, *shape: int, name: str = "data") -> Value:
        node = self.graph.add(name, "ge.Data", (), [name])
        note(node, shape=self.shaped(shape), dtype=self.dtype)
        return self._done(node)

    def op(
        self,
        type: str,
        inputs: Sequence[Value],
        weights: Mapping[str, Array] | None = None,
        name: str = "",
        outputs: int = 1,
        more: Mapping[str, Plain] | None = None,
        **own: Plain,
    ) -> Value:
        """An op on images in the net's layout; the first of its outputs. `own` and `more` are its attributes."""
        attrs = {**own, **(more or {})}
        found = name or self.graph.unused_name(type.lower())
        blobs = [found if not index else f"{found}:{index}" for index in range(outputs)]
        return self._done(
            self.graph.add(found, f"ge.{type}", inputs, blobs, attrs=attrs, weights=weights),
            has_filter=type in _FILTERED,
        )

    # -- linear ops ------------------------------------------------------------------------------

    def conv(self, value: Value, channels: int, kernel: int = 3, group: int = 1, bias: bool = True) -> Value:
        pads = (kernel // 2,) * 4
        weights = self._weights((channels, self.channels(value) // group, kernel, kernel), channels if bias else 0)
        return self.op("Conv2D", [value], weights, more=self._steps(1), pads=pads, groups=group)

    def depthwise(self, value: Value, multiplier: int = 1, kernel: int = 3) -> Value:
        return self.op(
            "DepthwiseConv2D", [value], self.depthwise_weights(value, multiplier, kernel), more=self.same_size(kernel)
        )

    def depthwise_weights(self, value: Value, multiplier: int = 1, kernel: int = 3) -> dict[str, Array]:
        channels = self.channels(value)
        return self._weights((multiplier, channels, kernel, kernel), channels * multiplier)

    def same_size(self, kernel: int) -> dict[str, Plain]:
        """Attributes of a convolution that keeps height and width."""
        return {**self._steps(1), "pads": (kernel // 2,) * 4}

    def deconv(self, value: Value, channels: int) -> Value:
        """One that doubles height and width."""
        weights = self._weights((self.channels(value), channels, 2, 2), channels)
        return self.op("Deconvolution", [value], weights, strides=(2, 2), pads=(0, 0, 0, 0), data_format=self.layout)

    def full(self, value: Value, outputs: int) -> Value:
        """A FullyConnection; in NHWC the weights read the elements in the order in which they lie there."""
        return self.op("FullyConnection", [value], self.full_weights(value, outputs), num_output=outputs)

    def full_weights(self, value: Value, outputs: int) -> dict[str, Array]:
        return self._weights((outputs, int(np.prod((value.shape or ())[1:]))), outputs)

    def matmul(self, value: Value, outputs: int, transpose: bool = False, type: str = "MatMulV2") -> Value:
        size = (value.shape or (0,))[-1]
        weights = self._weights((size, outputs), outputs)
        if transpose:
            weights["weight"] = np.ascontiguousarray(weights["weight"].T)
        key = "adj_x2" if type.startswith("Batch") else "transpose_x2"
        return self.op(type, [value], weights, more={key: transpose})

    # -- others ----------------------------------------------------------------------------------

    def relu(self, value: Value) -> Value:
        return self.op("Relu", [value])

    def pool(self, value: Value, mode: int = 0, kernel: int = 2) -> Value:
        attrs: dict[str, Plain] = {"mode": mode, "window": (kernel, kernel), "stride": (kernel, kernel)}
        return self.op("Pooling", [value], more=attrs, data_format=self.layout)

    def finish(self, *outputs: Value) -> Graph:
        self.graph.outputs = list(outputs)
        annotate_shapes(self.graph)
        return self.graph

    # -- layouts ---------------------------------------------------------------------------------

    def shaped(self, shape: Sequence[int]) -> Shape:
        if self.layout == NHWC and len(shape) == 4:
            return (shape[0], *shape[2:], shape[1])
        return tuple(shape)

    def channels(self, value: Value) -> int:
        return (value.shape or (0, 0))[3 if self.layout == NHWC and len(value.shape or ()) == 4 else 1]

    def numbers(self, *shape: int, low: float = 0.25, high: float = 0.75) -> Array:
        found: Array = self.rng.uniform(low, high, shape).astype(self.dtype)
        return found

    def _weights(self, shape: Shape, biases: int) -> dict[str, Array]:
        drawn = self.rng.normal(size=shape) / np.sqrt(np.prod(shape) / shape[0])
        filter = drawn.transpose(2, 3, 1, 0) if self.layout == NHWC and len(shape) == 4 else drawn
        found: dict[str, Array] = {"weight": np.ascontiguousarray(filter.astype(self.dtype))}
        if biases:
            found["bias"] = self.rng.normal(size=biases).astype(self.dtype)
        return found

    def _steps(self, size: int) -> dict[str, Plain]:
        return {
            "strides": (1, size, size, 1) if self.layout == NHWC else (1, 1, size, size),
            "data_format": self.layout,
        }

    def _done(self, node: Node, has_filter: bool = False) -> Value:
        if self.layout != NCHW:
            note(node, format=self.layout, filter_format="HWCN" if has_filter else None)
        annotate_shapes(self.graph)
        return node.output


_FILTERED = ("Conv2D", "DepthwiseConv2D", "Deconvolution")


def to_nchw(array: Floats, layout: str) -> Floats:
    """Images of a layout as NCHW."""
    return array.transpose(0, 3, 1, 2) if layout == NHWC and array.ndim == 4 else array


def to_layout(array: Floats, layout: str) -> Floats:
    """NCHW images in a layout."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if layout == NHWC and array.ndim == 4 else array


def written(graph: Graph, form: AscendForm | None = None) -> ModelDef:
    """The message of what target `ge` writes."""
    return model_message(in_ge(graph), form or AscendForm())


def read_back(graph: Graph, form: AscendForm | None = None) -> Graph:
    """What is read of a graph that target `ge` has written, by way of its bytes."""
    return read(written(graph, form))


def read(model: ModelDef) -> Graph:
    """The graph of a message, by way of its bytes; nothing may be wrong with it."""
    assert not verify_air(model), [str(each) for each in verify_air(model)]
    again = new("ModelDef")
    again.ParseFromString(air_bytes(model))
    collector = Collector()
    graph = graph_of_model(again, "net.air", collector)
    assert not collector.diagnostics, [str(each) for each in collector.diagnostics]
    return graph


def op_of(model: ModelDef, name: str) -> ModelDef:
    """An op of a message, by its name."""
    return next(op for op in model.graph[0].op if op.name == name)


def ops_of(model: ModelDef, type: str) -> list[ModelDef]:
    """All ops of a type."""
    return [op for op in model.graph[0].op if op.type == type]


def assert_same_graph(graph: Graph, other: Graph) -> None:
    """Both compute the same in the same words; what only a file holds, and where nodes come from, is not looked at."""
    assert [node.name for node in graph.nodes] == [node.name for node in other.nodes]
    for node in graph.nodes:
        twin = other.node(node.name)
        assert node.op == twin.op, node.name
        assert _attributes(node) == _attributes(twin), node.name
        assert [value.name for value in node.inputs] == [value.name for value in twin.inputs], node.name
        pairs = [(value.shape, value.dtype) for value in node.outputs]
        assert pairs == [(value.shape, value.dtype) for value in twin.outputs], node.name
        assert node.weights.keys() == twin.weights.keys(), node.name
        for role, array in node.weights.items():
            assert array.dtype == twin.weights[role].dtype, (node.name, role)
            np.testing.assert_array_equal(array, twin.weights[role], err_msg=f"{role} of {node.name}")
    assert [value.name for value in graph.outputs] == [value.name for value in other.outputs]


def _attributes(node: Node) -> dict[str, Plain]:
    found = dict(node.attrs)
    air = found.pop(AIR, {})
    if node.dialect == "quant":
        for key in _NOT_WRITTEN:
            found.pop(key, None)
        if node.op == "quant.Dequantize":
            found.pop("bits", None)
            axis, rank = found.get("axis", 1), len(node.output.shape or ())
            found["axis"] = axis % rank if isinstance(axis, int) and rank else axis
        return {key: _rounded(value) for key, value in found.items()}
    if node.op == "ge.Data":
        found.pop("index", None)  # numbered when it is written
    kept = {key: value for key, value in air.items() if key not in _FILE_ONLY} if isinstance(air, dict) else {}
    return {**{key: _rounded(value) for key, value in found.items()}, AIR: kept}


def _rounded(value: Plain) -> Plain:
    """Floats as a file of GE holds them: the reciprocal of a reciprocal, in float32, is off by an ulp at times."""
    return float(np.float32(f"{value:.6g}")) if isinstance(value, float) else value
