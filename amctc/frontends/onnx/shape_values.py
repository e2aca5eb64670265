"""Sizes that a model computes from the shapes of its values, as far as the file says these.

Exporters write `Reshape(x, Concat(Gather(Shape(x), 0), [-1]))` where `Reshape(x, [0, -1])` is meant. A vector
of sizes is held here as numbers and as `Size`s that only the data tell, which are equal if they are one axis's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto

    from amctc.ir.node import Array


@dataclass(frozen=True)
class Size:
    """A size that the file does not say: that of one axis of one value, or the one of a name."""

    name: str


Sizes: TypeAlias = "tuple[int | Size, ...]"
"""A vector of int64, or a scalar as a vector of one."""

_CARRIED = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze"})


_MOST_AXES = 64
"""A longer vector is none of sizes."""


def sizes_of_node(node: NodeProto, known: Mapping[str, Sizes], constants: Mapping[str, Array]) -> Sizes | None:
    """What a node computes of known sizes; None for what is none of the ops that such chains are made of."""
    operands = [_sizes(name, known, constants) for name in node.input]
    if not operands or operands[0] is None:
        return None
    data = operands[0]
    if node.op_type in _CARRIED:
        return data
    if node.op_type == "Concat":
        parts = [part for part in operands if part is not None]
        found = tuple(size for part in parts for size in part)
        return None if len(parts) < len(operands) or len(found) > _MOST_AXES else found
    if node.op_type == "Gather" and len(operands) > 1:
        index = constants.get(node.input[1])
        return None if index is None or index.ndim > 1 else _chosen(data, index)
    if node.op_type == "Slice":
        return _sliced(data, [constants.get(name) for name in node.input[1:]])
    return None


def reshape_sizes(wanted: Sizes, source: Sequence[int | Size] | None) -> NDArray[np.int64] | None:
    """The second operand of a Reshape without sizes that only the data tell; None where there are several.

    `source` are the sizes of what is reshaped: one that stays in its place is 0, another one -1.
    """
    found: list[int] = []
    for place, size in enumerate(wanted):
        if isinstance(size, int):
            found.append(size)
        elif source is not None and place < len(source) and source[place] == size:
            found.append(0)
        else:
            found.append(-1)
    return np.array(found, np.int64) if found.count(-1) <= 1 else None


def reshaped_sizes(wanted: Sizes, source: Sizes | None, name: str) -> Sizes:
    """The sizes of what a Reshape gives, which is the value `name`."""
    found: list[int | Size] = []
    for place, size in enumerate(wanted):
        if size == 0:
            known = source is not None and place < len(source)
            found.append(source[place] if known and source is not None else Size(f"{name}#{place}"))
        else:
            found.append(size if size != -1 else Size(f"{name}#{place}"))
    if wanted.count(-1) != 1 or source is None:
        return tuple(found)
    # Axes that are on both sides need no number.
    left, rest = list(source), [size for place, size in enumerate(found) if wanted[place] != -1]
    for size in [size for size in rest if isinstance(size, Size)]:
        if size in left:
            left.remove(size)
            rest.remove(size)
    whole, parts = _product(left), _product(rest)
    if whole is not None and parts:
        found[wanted.index(-1)] = whole // parts
    return tuple(found)


def _product(sizes: Sequence[int | Size]) -> int | None:
    product = 1
    for size in sizes:
        if isinstance(size, Size):
            return None
        product *= size
    return product


def _sizes(name: str, known: Mapping[str, Sizes], constants: Mapping[str, Array]) -> Sizes | None:
    if name in known:
        return known[name]
    array = constants.get(name)
    if array is None or array.ndim > 1 or array.size > _MOST_AXES or array.dtype.kind not in "iu":
        return None
    return tuple(int(item) for item in array.reshape(-1))


def _chosen(data: Sizes, index: Array) -> Sizes | None:
    places = [int(place) for place in index.reshape(-1)]
    if any(not -len(data) <= place < len(data) for place in places):
        return None
    return tuple(data[place] for place in places)


def _sliced(data: Sizes, operands: Sequence[Array | None]) -> Sizes | None:
    """A Slice along the only axis."""
    if len(operands) < 2 or any(operand is None or operand.size != 1 for operand in operands):
        return None
    start, end, *rest = (int(operand.reshape(-1)[0]) for operand in operands if operand is not None)
    step = rest[1] if len(rest) > 1 else 1
    return tuple(data[start:end:step]) if step > 0 else None
