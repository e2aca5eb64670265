"""What a host op is: an op, or a case of one, that Python runs because ONNX Runtime cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape

Arrays: TypeAlias = tuple[Array, ...]
Run: TypeAlias = Callable[[Arrays, tuple[Shape, ...]], Arrays]


@dataclass(frozen=True)
class HostOp:
    """An op, or a case of one, that Python runs.

    `applies(node, dtypes)` says whether it takes a node over; `dtypes` has the element type of every
    value. `run(node, inputs, shapes)` computes the outputs. `shapes` are those that the op's `infer`
    gives for these inputs: the outputs' shapes, or the most they can be where the data decide.

    An op that goes on from one batch to the next has `begin(node)` too: an executor calls it once, and
    what it gives computes the outputs of every batch, in their order.
    """

    name: str
    applies: Callable[[Node, Mapping[Value, str]], bool]
    run: Callable[[Node, Arrays, tuple[Shape, ...]], Arrays]
    begin: Callable[[Node], Run] | None = None

    def start(self, node: Node) -> Run:
        """What computes the outputs of one node, batch after batch, for one executor."""
        if self.begin is not None:
            return self.begin(node)
        return lambda inputs, shapes: self.run(node, inputs, shapes)


def for_op(op: str, run: Callable[[Node, Arrays, tuple[Shape, ...]], Arrays]) -> HostOp:
    """A host op that takes over every node of one op, such as `caffe.DetectionOutput`."""
    return HostOp(op, lambda node, dtypes: node.op == op, run)
