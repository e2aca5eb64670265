"""Turning a node into another GE op: the general one that does what passes have merged into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.ge import GE
from amctc.dialects.ge.slots import AIR, NHWC, about, data_format
from amctc.dialects.op import Affine, Bounded, OpDef, Reshaping
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.text.plain import Plain

_KEPT = ("format", "controls")
"""What of a file's words on a node holds for any op in its place."""


def become(node: Node, type: str, attributes: Mapping[str, Plain], weights: Mapping[str, Array]) -> None:
    """Another op on the same values, with these attributes and constants; its output may have another shape."""
    kept = {key: value for key, value in about(node).items() if key in _KEPT}
    node.op = f"{GE}.{type}"
    node.attrs = {**attributes, **({AIR: kept} if kept else {})}
    node.weights = dict(weights)


def become_scale(node: Node, scale: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """A Scale of the channels, float32 [C] each; without a bias where that is 0."""
    axis = -1 if data_format(node) == NHWC else 1
    weights = {"scale": scale, "bias": bias} if bias.any() else {"scale": scale}
    become(node, "Scale", {"axis": axis, "num_axes": 1, "scale_from_blob": True}, weights)


def become_reshape(node: Node, dims: tuple[int, ...]) -> None:
    """A Reshape of all axes; 0 copies an axis of the input, -1 is what is left of its elements."""
    become(node, "Reshape", {"axis": 0, "num_axes": -1}, {"shape": np.array(dims, np.int64)})


def become_permute(node: Node, order: tuple[int, ...]) -> None:
    """A Permute with all axes in its `order`."""
    become(node, "Permute", {"order": order}, {})


def become_relu(node: Node) -> None:
    """A Relu."""
    become(node, "Relu", {}, {})


def with_scale(row: OpDef) -> OpDef:
    """A row of a map of each channel whose nodes may become a Scale."""
    if row.affine is None:
        raise ValueError(f"{row.name} is not a map of each channel")
    return replace(row, affine=Affine(row.affine.coefficients, become_scale, row.affine.axis))


def with_relu(row: OpDef, bound: float) -> OpDef:
    """A row of a ReLU that stops at a bound, whose nodes may become a Relu."""
    return replace(row, bounded=Bounded(lambda node: bound, become_relu))


RESHAPING = Reshaping(become_reshape)
"""The trait of an op with one value that holds its elements under another shape."""
