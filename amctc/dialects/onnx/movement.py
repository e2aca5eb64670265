"""Ops that move elements: all of them (Reshape, Concat) or some (Slice, Gather), and poolings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.onnx.generic import ONNX, generic_row
from amctc.dialects.onnx.operands import operands
from amctc.dialects.op import OpDef, Permuting, Quantizable, Reshaping
from amctc.ir import Node, Value

_FLOAT = "float32"


def _values_alone(count: int | None) -> Callable[[Node], bool]:
    """Whether the first `count` operands (None: all) are values: then what is moved are values alone."""

    def check(node: Node) -> bool:
        found = operands(node)
        return all(isinstance(operand, Value) for operand in (found if count is None else found[:count]))

    return check


_DATA_ALONE = _values_alone(1)


def _moving(type: str, summary: str, of_values: Callable[[Node], bool] = _DATA_ALONE) -> OpDef:
    """A row of an op whose outputs hold exactly the elements of its data inputs."""
    plain = generic_row(f"{ONNX}.{type}")

    def moves(node: Node) -> bool:
        return of_values(node) and len(node.inputs) == (1 if of_values is _DATA_ALONE else len(node.inputs))

    return replace(
        plain,
        summary=summary,
        moves_data=True,
        keeps_grid=moves,
        variant=lambda node: None if moves(node) else plain,
    )


def _choosing(type: str, summary: str, keeps: Callable[[Node], bool] = _DATA_ALONE) -> OpDef:
    """A row of an op whose outputs hold elements of its data input, some of them, or some more than once."""
    return replace(generic_row(f"{ONNX}.{type}"), summary=summary, keeps_grid=keeps)


def _pads_with_zero(node: Node) -> bool:
    constant = node.weights.get("constant_value")
    mode = node_attribute(node, "mode", "constant")
    return _DATA_ALONE(node) and (mode != "constant" or constant is None or not constant.any())


def _is_nearest(node: Node) -> bool:
    return _DATA_ALONE(node) and len(node.inputs) == 1 and node_attribute(node, "mode", "nearest") == "nearest"


def _pooling(type: str, summary: str, *, on: bool, keeps: bool = False, alias: str | None = None) -> OpDef:
    plain = generic_row(f"{ONNX}.{type}")
    return replace(
        plain,
        summary=summary,
        homogeneous=lambda node: len(node.inputs) == 1,
        quantizable=Quantizable(on_by_default=on),
        keeps_grid=lambda node: keeps and len(node.outputs) == 1,
        aliases=lambda node: () if alias is None else (alias,),
        variant=lambda node: None if [value.dtype for value in node.inputs] == [_FLOAT] else plain,
    )


def _become_reshape(node: Node, sizes: tuple[int, ...]) -> None:
    node.op = f"{ONNX}.Reshape"
    node.attrs = {}
    node.weights = {"shape": np.array(sizes, np.int64)}


def _become_transpose(node: Node, order: tuple[int, ...]) -> None:
    node.op = f"{ONNX}.Transpose"
    node.attrs, node.weights = {"perm": order}, {}


def _transposed_order(node: Node, rank: int) -> tuple[int, ...]:
    return tuple(node_attribute(node, "perm", tuple(reversed(range(rank)))))


_RESHAPING = Reshaping(_become_reshape)

MOVEMENT_OPS: tuple[OpDef, ...] = (
    replace(_moving("Reshape", "the same elements under another shape"), reshaping=_RESHAPING),
    replace(_moving("Flatten", "the same elements as a matrix"), reshaping=_RESHAPING),
    replace(_moving("Squeeze", "without axes of size 1"), reshaping=_RESHAPING),
    replace(_moving("Unsqueeze", "with more axes of size 1"), reshaping=_RESHAPING),
    replace(
        _moving("Transpose", "the axes in another order"), permuting=Permuting(_transposed_order, _become_transpose)
    ),
    _moving("DepthToSpace", "channels become pixels"),
    _moving("SpaceToDepth", "pixels become channels"),
    _moving("Split", "the parts of a value along an axis"),
    _moving("Concat", "values behind each other along an axis", _values_alone(None)),
    _choosing("Slice", "a part of a value"),
    _choosing("Gather", "chosen slices of a value"),
    _choosing("Expand", "a value repeated to a larger shape"),
    _choosing("Tile", "a value repeated"),
    _choosing("Pad", "a value with a border", _pads_with_zero),
    _choosing("Resize", "a value enlarged or made smaller", _is_nearest),
    _pooling("AveragePool", "the mean of each window", on=True, alias="AvgPool2d"),
    _pooling("GlobalAveragePool", "the mean of each channel", on=False),
    _pooling("MaxPool", "the largest element of each window", on=False, keeps=True, alias="MaxPool2d"),
    _pooling("GlobalMaxPool", "the largest element of each channel", on=False, keeps=True),
)
