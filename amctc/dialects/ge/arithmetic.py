"""Arithmetic and comparisons of two values, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from amctc.dialects.ge.become import with_scale
from amctc.dialects.ge.onnx_form import given, given_at, onnx_kin, onnx_row
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, Quantizable
from amctc.ir import Node

_FLOAT = "float32"


def _quotient(node: Node) -> Kin:
    """ONNX cuts the fraction off quotients of integers, and so does GE's Div."""
    return onnx_kin("Div", given(node))


def _real_quotient(node: Node) -> Kin:
    if not _floats(node):
        raise NoKin("cannot be run: real quotients of integers are not supported")
    return onnx_kin("Div", given(node))


def _floats(node: Node) -> bool:
    weights = all(array.dtype.kind == "f" for array in node.weights.values())
    return weights and all(value.dtype.startswith("float") for value in node.inputs)


def _bias_add(node: Node) -> Kin:
    bias = given_at(node, "bias")
    if not isinstance(bias, np.ndarray) or len(node.inputs) != 1:
        raise NoKin("cannot be run: its `bias` is not constant")
    moved = data_format(node) == NHWC
    return Kin("caffe.Bias", {"bias_param": {"axis": 1}}, {"bias": bias.reshape(-1)}, moved=moved)


def _sum_row() -> OpDef:
    """A sum of two values can be quantized; that of a value and a constant is a map of each channel."""
    of_one = onnx_row("Add", "Add", notes="quantized on request where both operands are values")
    of_two = replace(of_one, affine=None, quantizable=Quantizable(on_by_default=False))

    def variant(node: Node) -> OpDef | None:
        both = len(node.inputs) == 2 and all(value.dtype == _FLOAT for value in node.inputs)
        return of_two if both else of_one

    return replace(of_one, quantizable=of_two.quantizable, variant=variant)


def _of_two(type: str, like: str, translate: Callable[[Node], Kin] | None = None) -> OpDef:
    return onnx_row(type, like, translate)


ARITHMETIC_OPS: tuple[OpDef, ...] = (
    _sum_row(),
    _of_two("Sub", "Sub"),
    _of_two("Mul", "Mul"),
    _of_two("RealDiv", "Div", _real_quotient),
    _of_two("Div", "Div", _quotient),
    _of_two("Maximum", "Max"),
    _of_two("Minimum", "Min"),
    _of_two("Pow", "Pow"),
    _of_two("Equal", "Equal"),
    _of_two("Greater", "Greater"),
    _of_two("Less", "Less"),
    with_scale(kin_row("BiasAdd", _bias_add, "caffe.Bias", notes="bias [C], along the axis of the channels")),
)
