"""The model of QuantizeLinear and DequantizeLinear pairs, which ONNX Runtime turns into integer kernels.

A kernel is an integer one if a pair stands on each of its inputs and on its output. So a pair is also put before the
ops that only move or choose elements, as these are on the grid before as well as behind, and before those that hold
them between bounds: rounding first gives the same, as both keep the order of numbers. An activation that does no more
than the grid's own ends is left out. None of this changes a number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.operands import operands
from amctc.dialects.onnx.recurrent import BIAS, INITIAL_H
from amctc.dialects.table import op_def
from amctc.dialects.traits import grids_inside, keeps_grid, linear_trait, quantizes_inside
from amctc.ir import Graph, Node, Use, Value, WeightQuant
from amctc.quant.grid import grid_limits
from amctc.quant.nibbles import PACKED
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.onnx_nodes import operand_name, write_node
from amctc.runtime.lowering.quantization import grid_of
from amctc.runtime.lowering.rules import rule_of
from amctc.runtime.lowering.weights import dequantized_weight, float_operands
from amctc.targets.onnx.form import Form, is_quantized
from amctc.targets.onnx.recurrent import RECURRENT_OPS, bias_scales, operand_scale, weight_scales


@dataclass(frozen=True)
class Grid:
    """The grid of a Quantize."""

    scale: float
    offset: int
    bits: int


def grid(node: Node) -> Grid:
    scale, offset, bits = grid_of(node)
    return Grid(float(scale), offset, bits)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Where pairs stand beside those of the Quantize nodes, and which activations are left out."""

    moved: Mapping[Use, Grid]
    """Inputs that get a pair because what is behind lies on that grid."""
    saturated: frozenset[Node]
    """Activations whose bounds the grid of every reader has anyway."""


def find_pairs(graph: Graph, outputs: Collection[Value]) -> Pairs:
    """Go through the graph from its end: what stands behind a value decides. `outputs` are given in float."""
    moved: dict[Use, Grid] = {}
    saturated: set[Node] = set()
    grids: dict[Value, set[Grid | None]] = {}
    for node in reversed(graph.nodes):
        for value in node.outputs:
            grids[value] = {_grid_at(use, moved) for use in graph.uses(value)}
            if value in outputs:
                grids[value].add(None)
        if not node.outputs or node.dialect == "quant":
            continue
        behind = set[Grid | None]().union(*(grids[value] for value in node.outputs))
        bounds = op_def(node).clamps(node)
        if bounds is not None and behind and all(each is not None and _saturates(each, bounds) for each in behind):
            saturated.add(node)
            continue
        only = next(iter(behind)) if len(behind) == 1 else None
        if only is not None and (bounds is not None or keeps_grid(node)):
            moved.update({Use(node, index): only for index in range(len(node.inputs))})
    return Pairs(moved, frozenset(saturated))


def _grid_at(use: Use, moved: Mapping[Use, Grid]) -> Grid | None:
    return grid(use.node) if use.node.op == "quant.Quantize" else moved.get(use)


def _saturates(grid: Grid, bounds: tuple[float, float]) -> bool:
    """Whether the bounds are those of the grid: they are quantized to its ends, and so is all beyond."""
    lowest, highest = grid_limits(grid.bits)
    low, high = (bound / grid.scale + grid.offset for bound in bounds)
    return bool(np.round(low) <= lowest and np.round(high) >= highest)


class QdqWriter:
    """Writes the pairs of one graph; a value that several readers want on one grid has one pair.

    `unsigned`: data of 8 bits are stored as uint8, with a zero point of offset + 128, else as int8.
    """

    def __init__(self, graph: Graph, outputs: Iterable[Value], unsigned: bool) -> None:
        self._outputs = frozenset(outputs)
        self._pairs = find_pairs(graph, self._outputs)
        self._unsigned = unsigned
        self._written: dict[tuple[str, Grid], str] = {}

    @property
    def form(self) -> Form:
        rules = {
            "quant.Quantize": self._quantize,
            "quant.Dequantize": self._pass_on,
            "quant.AntiQuantize": self._pass_on,
            **dict.fromkeys(RECURRENT_OPS, self._recurrent),
        }
        return Form(MappingProxyType(rules), self._operands)

    def around(self, rule: Rule) -> Rule:
        """The rule for a node that is none of the quant dialect: it reads pairs where these were moved to it."""

        def write(low: Lowering, node: Node) -> None:
            if node in self._pairs.saturated:
                self._pass_on(low, node)
                return
            moved = dict(self._moved(node))
            before = {value: low.name(value) for value in moved}
            low.names.update({value: self._pair(low, before[value], grid) for value, grid in moved.items()})
            rule(low, node)
            low.names.update(before)

        return write

    def _moved(self, node: Node) -> Iterator[tuple[Value, Grid]]:
        for index, value in enumerate(node.inputs):
            found = self._pairs.moved.get(Use(node, index))
            if found is not None and value.producer.op != "quant.AntiQuantize":
                yield value, found

    def _quantize(self, low: Lowering, node: Node) -> None:
        low.names[node.output] = self._pair(low, low.name(node.inputs[0]), grid(node))

    def _pass_on(self, low: Lowering, node: Node) -> None:
        """The output is the input, under the output's name where the graph gives it to its user."""
        if low.name(node.inputs[0]) == low.name(node.output):
            return
        if node.output in self._outputs:
            low.emit("Identity", [low.name(node.inputs[0])], low.name(node.output), node.name)
        else:
            low.names[node.output] = low.name(node.inputs[0])

    def _pair(self, low: Lowering, source: str, grid: Grid) -> str:
        if (source, grid) not in self._written:
            scale = low.scalar(grid.scale, f"{source}_scale")
            zero = low.constant(self._zero_point(grid), f"{source}_zero_point")
            quantized = low.emit("QuantizeLinear", [source, scale, zero], low.fresh(f"{source}_QuantizeLinear"))
            name = low.fresh(f"{source}_DequantizeLinear")
            self._written[source, grid] = low.emit("DequantizeLinear", [quantized, scale, zero], name)
        return self._written[source, grid]

    def _recurrent(self, low: Lowering, node: Node) -> None:
        """A float layer on data and an initial state of their grids, and on weights from integers.

        ONNX has no pair for the hidden state of the steps between: that stays float.
        """
        if not quantizes_inside(node):
            rule_of(node)(low, node)
            return
        hidden, bits = len(node.inputs), {i: grid.bits for i, grid in grids_inside(node).operands.items()}
        offsets = {i: grid.offset for i, grid in grids_inside(node).operands.items()}
        scales = {**weight_scales(node), BIAS: bias_scales(node)}
        inputs: list[str] = []
        for position, operand in enumerate(operands(node)):
            if isinstance(operand, str) and operand in scales:
                array, name = node.weights[operand], f"{node.name}.{operand}"
                array = array if operand == BIAS else _stored(array, None if node.quant is None else node.quant.weight)
                inputs.append(self._constant_pair(low, array, scales[operand], 1, name))
                continue
            name, index = operand_name(low, node, operand), {0: 0, INITIAL_H: hidden}.get(position)
            if name and index is not None:
                name = self._pair(low, name, Grid(operand_scale(node, index), offsets[index], bits[index]))
            inputs.append(name)
        write_node(low, node, inputs)

    def _zero_point(self, grid: Grid) -> NDArray[np.integer]:
        wide = grid.bits > 8
        if self._unsigned:
            moved = grid.offset - grid_limits(16 if wide else 8)[0]
            return np.array(moved, np.uint16 if wide else np.uint8)
        return np.array(grid.offset, np.int16 if wide else np.int8)

    def _operands(self, low: Lowering, node: Node) -> list[str]:
        """Integers and a DequantizeLinear for each: so they lie in the file, and kernels take them as they are."""
        if not is_quantized(node):
            return float_operands(low, node)
        trait = linear_trait(node)
        quant = node.quant.weight if node.quant is not None else None
        scale = None if quant is None else quant.scales.get(trait.weight)
        if scale is None:
            raise ValueError(f"{node.name!r} has integer weights without scales")
        weight = _stored(node.weights[trait.weight], quant)
        axis = channel_axis(node) if scale.size > 1 else 0
        if axis is None:  # of a transposed convolution in groups
            found = [low.constant(dequantized_weight(node, trait.weight), f"{node.name}.weight")]
        else:
            found = [self._constant_pair(low, weight, scale, axis, f"{node.name}.weight")]
        bias = node.weights.get(trait.bias)
        if bias is not None:
            found.append(self._constant_pair(low, bias, _deq_scale(node), 0, f"{node.name}.bias"))
        return found

    def _constant_pair(
        self, low: Lowering, array: NDArray[np.generic], scale: NDArray[np.float32], axis: int, name: str
    ) -> str:
        factors = scale.astype(np.float32).reshape(()) if scale.size == 1 else scale.astype(np.float32)
        inputs = [low.constant(array, f"{name}_quantized"), low.constant(factors, f"{name}_scale")]
        if array.dtype != np.int32:  # kernels ask for that of weights; that of a bias is 0 by definition
            inputs.append(low.constant(np.zeros(factors.shape, array.dtype), f"{name}_zero_point"))
        # For one scale the axis means nothing.
        return low.emit("DequantizeLinear", inputs, low.fresh(name), axis=axis)


def _stored(weight: NDArray[np.generic], quant: WeightQuant | None) -> NDArray[np.generic]:
    """The integers in the type that a file has for so many bits."""
    if quant is None or quant.bits != PACKED or quant.clustering is not None:
        return weight
    import ml_dtypes

    return weight.astype(ml_dtypes.int4)


def channel_axis(node: Node) -> int | None:
    """The axis of the weight array along which the output channels lie; None where they lie along none alone."""
    trait = linear_trait(node)
    shape = node.weights[trait.weight].shape
    channels = trait.out_channels(node)
    for axis, size in enumerate(shape):
        if size != channels:
            continue
        numbers = np.arange(size, dtype=np.int32).reshape((-1,) + (1,) * (len(shape) - axis - 1))
        rows = trait.by_output_channel(node, np.broadcast_to(numbers, shape))
        if bool((rows.reshape(len(rows), -1) == np.arange(channels)[:, np.newaxis]).all()):
            return axis
    return None


def _deq_scale(node: Node) -> NDArray[np.float32]:
    """scale_d * scale_w of a quantized layer, from the Dequantize behind it."""
    for use in node.graph.uses(node.output):
        found = use.node.weights.get("deq_scale")
        if use.node.op == "quant.Dequantize" and found is not None:
            return found.astype(np.float32).reshape(-1)
    raise ValueError(f"{node.name!r} has no Dequantize behind it")
