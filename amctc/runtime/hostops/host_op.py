"""What a host op is: an op, or a case of one, that Python runs because ONNX Runtime cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from amctc.ir import Node, Value
from amctc.ir.graph import Array, Shape

Arrays: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class HostOp:
    """An op, or a case of one, that Python runs.

    `applies(node, dtypes)` says whether it takes a node over; `dtypes` has the element type of every
    value. `run(node, inputs, shapes)` computes the outputs. `shapes` are those that the op's `infer`
    gives for these inputs: the outputs' shapes, or the most they can be where the data decide.
    """

    name: str
    applies: Callable[[Node, Mapping[Value, str]], bool]
    run: Callable[[Node, Arrays, tuple[Shape, ...]], Arrays]


def for_op(op: str, run: Callable[[Node, Arrays, tuple[Shape, ...]], Arrays]) -> HostOp:
    """A host op that takes over every node of one op, such as `caffe.DetectionOutput`."""
    return HostOp(op, lambda node, dtypes: node.op == op, run)
