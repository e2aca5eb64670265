"""What Caffe demands of every blob: its number of axes, its size, how an axis is counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Shape

MOST_AXES = 32
MOST_ELEMENTS = 2**31 - 1

Infer: TypeAlias = Callable[[Node, tuple[Shape, ...]], tuple[Shape, ...]]


def axis_of(axis: int, rank: int, name: str = "axis") -> int:
    """`axis` counted from the front; a negative one counts from the end. Raises `OpError` outside the blob."""
    if not -rank <= axis < rank:
        raise OpError(f"`{name}` {axis} is outside a blob of {rank} axes")
    return axis % rank


def need_rank(shape: Shape, rank: int) -> None:
    """Raise `OpError` unless the blob has exactly `rank` axes."""
    if len(shape) != rank:
        raise OpError(f"takes a blob of {rank} axes, this one has {len(shape)}: {describe(shape)}")


def need_equal(shapes: tuple[Shape, ...]) -> None:
    """Raise `OpError` unless all inputs have one shape."""
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise OpError(
                f"all inputs must have one shape: input 0 is {describe(shapes[0])}, input {index} is {describe(shape)}"
            )


def differ_only_along(axis: int, a: Shape, b: Shape) -> bool:
    """Whether two shapes are equal but perhaps for their size along `axis`."""
    return len(a) == len(b) and (*a[:axis], *a[axis + 1 :]) == (*b[:axis], *b[axis + 1 :])


def need_own_top(node: Node) -> None:
    """Raise `OpError` where an op that cannot work in place is asked to."""
    if node.inputs[0].blob == node.output.blob:
        raise OpError("cannot work in place; give the layer a top of its own")


def describe(shape: Shape) -> str:
    """`2x3x5x5`; a scalar is `()`."""
    return "x".join(map(str, shape)) if shape else "()"


def same_shape(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Every output has the shape of the first input."""
    return (shapes[0],) * len(node.outputs)


def same_dtype(node: Node) -> tuple[str, ...]:
    """Every output has the element type of the first input: for ops that only move elements."""
    return (node.inputs[0].dtype,) * len(node.outputs)


def bounded(row: OpDef) -> OpDef:
    """The row with Caffe's limits on blobs (32 axes, 2**31 - 1 elements) checked on what it infers."""
    infer: Infer = row.infer

    def checked(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        found = infer(node, shapes)
        for shape in found:
            if len(shape) > MOST_AXES:
                raise OpError(f"a blob of {len(shape)} axes; Caffe allows {MOST_AXES}")
            if any(size < 0 for size in shape):
                raise OpError(f"the output would have the shape {describe(shape)}")
            # A size of 0 does not excuse the others: they have to be sizes of an array.
            if math.prod(size for size in shape if size) > MOST_ELEMENTS:
                raise OpError(f"a blob of {describe(shape)} elements is more than the {MOST_ELEMENTS} Caffe allows")
        return found

    return replace(row, infer=checked)
