"""GE ops that have no row of their own: they are kept as they are, and cannot be run."""

from __future__ import annotations

from functools import lru_cache

from amctc.dialects.custom import infer_registered
from amctc.dialects.ge import GE
from amctc.dialects.ge.slots import about
from amctc.dialects.op import Arity, OpDef, UnknownShape
from amctc.ir import Node
from amctc.ir.node import Shape

_ANY = Arity(0, None)


@lru_cache(maxsize=1024)
def generic_row(op: str) -> OpDef:
    """The row of a GE op that amctc does not know: the outputs are what the file declares."""
    return OpDef(
        name=op,
        summary="an op that is kept as it is",
        inputs=_ANY,
        outputs=_ANY,
        infer=_infer,
        dtypes=declared_dtypes,
        effect=True,
    )


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    try:
        return infer_registered(node, shapes)
    except UnknownShape:
        return declared_shapes(node)


def declared_shapes(node: Node) -> tuple[Shape, ...]:
    """The shapes that the file declares for a node's outputs. Raises `UnknownShape` where one is not known."""
    found = about(node).get("output_shapes")
    if not isinstance(found, tuple) or len(found) != len(node.outputs):
        raise UnknownShape
    shapes: list[Shape] = []
    for shape in found:
        sizes = tuple(size for size in shape if isinstance(size, int)) if isinstance(shape, tuple) else (-1,)
        if any(size < 0 for size in sizes):
            raise UnknownShape
        shapes.append(sizes)
    return tuple(shapes)


def declared_dtypes(node: Node) -> tuple[str, ...]:
    """The element types that the file declares for a node's outputs; float32 where it says none."""
    found = about(node).get("output_dtypes")
    if not isinstance(found, tuple) or len(found) != len(node.outputs):
        return ("float32",) * len(node.outputs)
    return tuple(map(str, found))


__all__ = ["GE", "declared_dtypes", "declared_shapes", "generic_row"]
