"""Custom layers: Caffe layer types that no row of the op table describes, and what users register for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from numpy.typing import NDArray

from amctc.dialects.caffe.blobs import bounded
from amctc.dialects.op import Arity, OpDef, OpError, UnknownShape
from amctc.ir import Node
from amctc.ir.graph import Shape

CustomRun: TypeAlias = Callable[
    [Node, tuple[NDArray[Any], ...], tuple[Shape, ...]], "NDArray[Any] | Sequence[NDArray[Any]]"
]
"""`run(node, inputs, shapes)`: the outputs, one array each. `shapes` is what `infer` gave, () without `infer`."""

CustomInfer: TypeAlias = Callable[[Node, tuple[Shape, ...]], Sequence[Sequence[int]]]
"""`infer(node, shapes)`: the shape of each output for these input shapes."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ANY = Arity(0, None)


@dataclass(frozen=True)
class CustomOp:
    """What was registered for a layer type."""

    type: str
    run: CustomRun
    infer: CustomInfer | None = None


_REGISTERED: dict[str, CustomOp] = {}


def is_type_name(type: str) -> bool:
    """Whether Caffe could have a layer of this type: there it is part of a C++ name."""
    return _NAME.fullmatch(type) is not None


def registered(type: str) -> CustomOp | None:
    """What is registered for a layer type now."""
    return _REGISTERED.get(type)


def registered_types() -> tuple[str, ...]:
    """The layer types that something is registered for, in the order of registration."""
    return tuple(_REGISTERED)


def enter(op: CustomOp) -> None:
    """Register for the whole process. The caller has made sure that the type is free."""
    _REGISTERED[op.type] = op


def leave(op: CustomOp) -> None:
    """Undo `enter`; nothing happens where another op, or none, is registered now."""
    if _REGISTERED.get(op.type) is op:
        del _REGISTERED[op.type]


@lru_cache(maxsize=1024)
def custom_row(op: str) -> OpDef:
    """The row that stands for a layer type unknown to the table: any inputs and outputs, never quantized."""
    row = OpDef(
        name=op,
        summary="a custom layer",
        inputs=_ANY,
        outputs=_ANY,
        infer=_infer,
    )
    return bounded(row)


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    op = registered(node.type)
    if op is None or op.infer is None:
        raise UnknownShape
    try:
        found = tuple(tuple(int(size) for size in shape) for shape in op.infer(node, shapes))
    except (OpError, UnknownShape):
        raise
    except Exception as failure:  # of code that is not ours
        raise OpError(f"its registered `infer` failed: {type(failure).__name__}: {failure}") from failure
    if len(found) != len(node.outputs):
        raise OpError(f"its registered `infer` gives {len(found)} shapes for {len(node.outputs)} tops")
    return found
