"""Ops over one or more axes: Reduction and ReduceSum with its kin; the rules of ordering and normalization too."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.reduction import ASUM, MEAN, SUM, SUMSQ, reduced_axes
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.empty import unless_empty
from amctc.runtime.lowering.normalize import NORMALIZE_RULES
from amctc.runtime.lowering.ordering import ORDERING_RULES

_REDUCTIONS = {SUM: "ReduceSum", ASUM: "ReduceL1", SUMSQ: "ReduceSumSquare", MEAN: "ReduceMean"}
_OF_NOTHING = {"ReduceMean": np.nan, "ReduceProd": 1.0}
"""What each reduction of no elements at all gives; the sums give 0."""


def reduce(low: Lowering, op_type: str, source: str, axes: Shape, output: str | None = None, keep: bool = True) -> str:
    """An ONNX reduction; at opset 17 ReduceSum takes its axes as an input, the others as an attribute."""
    if op_type == "ReduceSum":
        names = [source, low.constant(np.array(axes, np.int64), f"{source}.axes")]
        return low.emit(op_type, names, output, keepdims=int(keep))
    return low.emit(op_type, [source], output, axes=axes, keepdims=int(keep))


def lower_reduction(low: Lowering, node: Node) -> None:
    """The input as [outer, inner], reduced along the second axis, times `coeff`."""
    param = params(node, "reduction_param")
    shape = low.shape(node.inputs[0])
    axis = axis_of(param.axis, len(shape))
    op_type, inner = _REDUCTIONS[param.operation], math.prod(shape[axis:])
    if inner == 0:
        _lower_nothing(low, node, op_type)
        return
    flat = low.reshape(low.name(node.inputs[0]), (math.prod(shape[:axis]), inner))
    found = reduce(low, op_type, flat, (1,), keep=False)
    if param.coeff != 1:
        found = low.emit("Mul", [found, low.scalar(param.coeff, f"{node.name}.coeff")])
    low.reshape(found, low.shape(node.output), low.name(node.output))


def lower_reduce(low: Lowering, node: Node) -> None:
    """The ONNX reduction of the same name."""
    shape, op_type = low.shape(node.inputs[0]), node.type
    if math.prod(shape) == 0:
        _lower_nothing(low, node, op_type)
        return
    axes = reduced_axes(node, len(shape))
    if not axes:
        low.emit("Identity", low.inputs(node), low.name(node.output))
        return
    keep = bool(params(node, "reduce_param").keepdims)
    reduce(low, op_type, low.name(node.inputs[0]), axes, low.name(node.output), keep)


def _lower_nothing(low: Lowering, node: Node, op_type: str) -> None:
    filled = np.full(low.shape(node.output), _OF_NOTHING.get(op_type, 0.0), np.float32)
    low.emit("Identity", [low.constant(filled, f"{node.name}.constant")], low.name(node.output))


REDUCTION_RULES: Mapping[str, Rule] = unless_empty(
    {
        "caffe.Reduction": lower_reduction,
        "caffe.ReduceSum": lower_reduce,
        "caffe.ReduceMean": lower_reduce,
        "caffe.ReduceProd": lower_reduce,
        "caffe.ReduceMax": lower_reduce,
        "caffe.ReduceMin": lower_reduce,
        **ORDERING_RULES,
        **NORMALIZE_RULES,
    }
)
