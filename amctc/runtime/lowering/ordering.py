"""Places and order along an axis: ArgMax, ArgMin, TopK, Sort, all by ONNX's TopK."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.reduction import arg_places
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule


def lower_arg(low: Lowering, node: Node) -> None:
    """TopK, on the reversed axis for ArgMax: ONNX prefers the lowest index among equals, Caffe the highest."""
    shape, output = low.shape(node.inputs[0]), low.name(node.output)
    found = arg_places(node, shape)
    source, axis = low.name(node.inputs[0]), found.axis
    if axis is None:
        axis, shape = 1, (shape[0], math.prod(shape[1:]))
        source = low.reshape(source, shape)
    largest = node.op == "caffe.ArgMax"
    if largest:
        source = _reversed(low, source, axis)
    values, places = _top_k(low, source, found.top_k, axis, largest)
    if largest:
        last = low.scalar(shape[axis] - 1, f"{node.name}.last")
        places = low.emit("Sub", [last, places])
    if not found.values:
        result = places
    elif found.axis is not None:
        result = values
    else:
        result = low.emit("Concat", [places, values], axis=1)
    low.reshape(result, low.shape(node.output), output)


def lower_top_k(low: Lowering, node: Node) -> None:
    """TopK, the indices as floats."""
    param = params(node, "topk_param")
    axis = axis_of(param.axis, len(low.shape(node.inputs[0])))
    _write(low, node, _top_k(low, low.name(node.inputs[0]), int(param.k), axis, bool(param.largest)))


def lower_sort(low: Lowering, node: Node) -> None:
    """TopK of all elements."""
    param = params(node, "sort_param")
    shape = low.shape(node.inputs[0])
    axis = axis_of(param.axis, len(shape))
    _write(low, node, _top_k(low, low.name(node.inputs[0]), shape[axis], axis, bool(param.descending)))


def _write(low: Lowering, node: Node, found: tuple[str, str]) -> None:
    for name, value in zip(found, node.outputs, strict=False):
        low.emit("Identity", [name], low.name(value))


def _top_k(low: Lowering, source: str, count: int, axis: int, largest: bool) -> tuple[str, str]:
    """Values and their indices as float32, the best first and of equals the lowest index first."""
    values, indices = low.fresh("values"), low.fresh("indices")
    k = low.constant(np.array([count], np.int64), "k")
    low.emit_many("TopK", [source, k], [values, indices], axis=axis, largest=int(largest), sorted=1)
    return values, low.emit("Cast", [indices], to=ONNX_TYPES["float32"])


def _reversed(low: Lowering, source: str, axis: int) -> str:
    numbers = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": axis, "steps": -1}
    return low.emit("Slice", [source, *(low.constant(np.array([n], np.int64), hint) for hint, n in numbers.items())])


ORDERING_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.ArgMax": lower_arg,
        "caffe.ArgMin": lower_arg,
        "caffe.TopK": lower_top_k,
        "caffe.Sort": lower_sort,
    }
)
