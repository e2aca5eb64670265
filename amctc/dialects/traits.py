"""Asking a node for a trait of its op."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import Linear
from amctc.dialects.table import op_def
from amctc.ir import Node


def linear_trait(node: Node) -> Linear:
    """The linear trait of a node that has it; ValueError otherwise."""
    trait = op_def(node).linear
    if trait is None:
        raise ValueError(f"{node.op} is not linear")
    return trait


def affine_coefficients(node: Node, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    """(a, b) as float64 [channels] with y = a*x + b, or the reason why the node is not such a map."""
    trait = op_def(node).affine
    if trait is None:
        return f"{node.type} is not a map of each channel"
    return trait.coefficients(node, channels)
