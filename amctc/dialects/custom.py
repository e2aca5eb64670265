"""Custom layers: Caffe layer types that no row of the op table describes, and what users register for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

from numpy.typing import NDArray

from amctc.dialects.caffe.blobs import bounded
from amctc.dialects.op import Arity, OpDef, OpError, UnknownShape
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.registered import Registered

CustomRun: TypeAlias = Callable[
    [Node, tuple[NDArray[Any], ...], tuple[Shape, ...]], "NDArray[Any] | Sequence[NDArray[Any]]"
]
"""`run(node, inputs, shapes)`: the outputs, one array each. `shapes` is what `infer` gave, () without `infer`."""

CustomInfer: TypeAlias = Callable[[Node, tuple[Shape, ...]], Sequence[Sequence[int]]]
"""`infer(node, shapes)`: the shape of each output for these input shapes."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ANY = Arity(0, None)
CAFFE = "caffe"


@dataclass(frozen=True)
class CustomOp:
    """What was registered for a layer type, or for an op of another dialect than Caffe's by its full name."""

    type: str
    run: CustomRun
    infer: CustomInfer | None = None


HOST_OPS: Registered[CustomOp] = Registered("host op")
OPS: Registered[OpDef] = Registered("op")
"""Rows beside those of the built-in table, by `dialect.Type`."""


def is_type_name(type: str) -> bool:
    """Whether Caffe could have a layer of this type: there it is part of a C++ name."""
    return _NAME.fullmatch(type) is not None


def registered(type: str) -> CustomOp | None:
    """What is registered now for a layer type of Caffe, or for an op of another dialect by its full name."""
    return HOST_OPS.get(type)


def registered_for(node: Node) -> CustomOp | None:
    """The host op that is registered for the op of a node."""
    return HOST_OPS.get(node.type if node.dialect == CAFFE else node.op)


def is_registered_type(type: str) -> bool:
    """Whether a host op or a row of the op table is registered now for a layer type of Caffe."""
    return type in HOST_OPS.rows or f"{CAFFE}.{type}" in OPS.rows


def registered_types() -> tuple[str, ...]:
    """The layer types that something is registered for, in the order of registration."""
    return tuple(HOST_OPS.rows)


@lru_cache(maxsize=1024)
def custom_row(op: str) -> OpDef:
    """The row that stands for a layer type unknown to the table: any inputs and outputs, never quantized."""
    row = OpDef(
        name=op,
        summary="a custom layer",
        inputs=_ANY,
        outputs=_ANY,
        infer=infer_registered,
        effect=True,
    )
    return bounded(row)


def infer_registered(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """`OpDef.infer` of ops that amctc does not know: what a registered host op infers."""
    op = registered_for(node)
    if op is None or op.infer is None:
        raise UnknownShape
    return _inferred(op.infer, node, shapes)


def foreign_row(row: OpDef) -> OpDef:
    """A row that may be anybody's: what it infers is checked, and a failure is told as one of the layer."""
    infer = row.infer
    return bounded(replace(row, infer=lambda node, shapes: _inferred(infer, node, shapes)))


def _inferred(infer: CustomInfer, node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    try:
        found = tuple(tuple(int(size) for size in shape) for shape in infer(node, shapes))
    except (OpError, UnknownShape):
        raise
    except Exception as failure:  # of code that is not ours
        raise OpError(f"its registered `infer` failed: {type(failure).__name__}: {failure}") from failure
    if len(found) != len(node.outputs):
        raise OpError(f"its registered `infer` gives {len(found)} shapes for {len(node.outputs)} tops")
    return found
