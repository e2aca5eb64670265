"""The quant dialect: Quantize, Dequantize, AntiQuantize, RetrainData."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.retrain import data_bits, data_grid
from amctc.dialects.traits import linear_trait
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.quant.grid import grid_limits
from amctc.runtime.lowering.builder import Lowering, Rule, weight_of


def grid_of(node: Node) -> tuple[np.float32, int, int]:
    """(scale, offset, bits) of a Quantize or AntiQuantize. Raises ValueError where they are missing."""
    scale, offset, bits = node.attrs.get("scale"), node.attrs.get("offset"), node.attrs.get("bits")
    if not isinstance(scale, int | float) or not isinstance(offset, int) or not isinstance(bits, int):
        raise ValueError(f"{node.name!r} lacks scale, offset or bits")
    return np.float32(scale), offset, bits


def lower_quantize(low: Lowering, node: Node) -> None:
    """clip(round_half_even(x * (1 / scale)) + offset), as integers or (`centered`) minus offset in float32."""
    scale, offset, bits = grid_of(node)
    lowest, highest = grid_limits(bits)
    inverse = low.scalar(float(np.float32(1) / scale), f"{node.name}.inverse_scale")
    steps = low.emit("Round", [low.emit("Mul", [_as_float(low, node), inverse])])
    output = low.name(node.output)
    if node.attrs.get("centered"):
        # Clipping before the offset is added instead of after it saves adding and taking it away again.
        low.emit("Clip", [steps, *_limits(low, node, lowest - offset, highest - offset)], output)
        return
    if offset:
        steps = low.emit("Add", [steps, low.scalar(offset, f"{node.name}.offset")])
    clipped = low.emit("Clip", [steps, *_limits(low, node, lowest, highest)])
    low.emit("Cast", [clipped], output, to=ONNX_TYPES[low.dtype(node.output)])
    if low.dtype(node.output) == "int8":
        moved = low.emit("Add", [clipped, low.scalar(128.0, f"{node.name}.shift")])
        low.remember_unsigned(node.output, low.emit("Cast", [moved], to=ONNX_TYPES["uint8"]))


def _limits(low: Lowering, node: Node, lowest: int, highest: int) -> tuple[str, str]:
    return low.scalar(lowest, f"{node.name}.lowest"), low.scalar(highest, f"{node.name}.highest")


def lower_dequantize(low: Lowering, node: Node) -> None:
    """float32(x) * deq_scale along the axis of the channels."""
    factors = weight_of(node, "deq_scale").astype(np.float32, copy=False).reshape(-1)
    rank = _rank(low, node.inputs[0]) if factors.size > 1 else 0
    spread = factors.reshape(deq_scale_shape(factors.size, rank, dequantize_axis(node)))
    constant = low.constant(spread, f"{node.name}.deq_scale")
    _multiply(low, node, _as_float(low, node), constant)


def deq_scale_shape(count: int, rank: int, axis: int = 1) -> Shape:
    """The shape in which `count` factors are broadcast: along an axis, or as one number."""
    if count == 1:
        return ()
    return tuple(count if place == axis % rank else 1 for place in range(rank))


def dequantize_axis(node: Node) -> int:
    """The axis of the channels of a Dequantize."""
    found = node.attrs.get("axis", 1)
    return found if isinstance(found, int) else 1


def _rank(low: Lowering, sums: Value) -> int:
    """Axes of what a layer with weights gives. Where the model leaves sizes open, those of the weights: as many."""
    if sums in low.shapes:
        return len(low.shape(sums))
    layer = sums.producer
    return weight_of(layer, linear_trait(layer).weight).ndim


def lower_anti_quantize(low: Lowering, node: Node) -> None:
    """(q - offset) * scale; `centered`: the offset is off already."""
    scale, offset, _ = grid_of(node)
    floats = _as_float(low, node)
    if offset and not node.attrs.get("centered"):
        floats = low.emit("Sub", [floats, low.scalar(offset, f"{node.name}.offset")])
    _multiply(low, node, floats, low.scalar(float(scale), f"{node.name}.scale"))


def _multiply(low: Lowering, node: Node, floats: str, factor: str) -> None:
    """What the node gives: a product in float32, rounded to the type of its output."""
    output, dtype = low.name(node.output), low.dtype(node.output)
    if dtype == "float32":
        low.emit("Mul", [floats, factor], output)
    else:
        low.emit("Cast", [low.emit("Mul", [floats, factor])], output, to=ONNX_TYPES[dtype])


def _as_float(low: Lowering, node: Node) -> str:
    source = node.inputs[0]
    if low.dtype(source) == "float32":
        return low.name(source)
    return low.emit("Cast", [low.name(source)], to=ONNX_TYPES["float32"])


def lower_retrain_data(low: Lowering, node: Node) -> None:
    """The grid's nearest value, as Quantize and AntiQuantize give it; x itself as long as the clips are not set."""
    grid = data_grid(node)
    if grid is None:
        low.emit("Identity", [low.name(node.inputs[0])], low.name(node.output))
        return
    scale, offset = np.float32(grid.scale), int(grid.offset)
    lowest, highest = grid_limits(data_bits(node))
    inverse = low.scalar(float(np.float32(1) / scale), f"{node.name}.inverse_scale")
    steps = low.emit("Round", [low.emit("Mul", [low.name(node.inputs[0]), inverse])])
    clipped = low.emit("Clip", [steps, *_limits(low, node, lowest - offset, highest - offset)])
    low.emit("Mul", [clipped, low.scalar(float(scale), f"{node.name}.scale")], low.name(node.output))


def lower_observe(low: Lowering, node: Node) -> None:
    """Nothing: calibration reads the value itself."""


QUANT_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "quant.Observe": lower_observe,
        "quant.Quantize": lower_quantize,
        "quant.Dequantize": lower_dequantize,
        "quant.AntiQuantize": lower_anti_quantize,
        "quant.RetrainData": lower_retrain_data,
    }
)
