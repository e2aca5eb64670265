"""Turning a node into another Caffe layer: the general one that does what passes have merged into it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Node
from amctc.text.plain import Plain

INPUT = "caffe.Input"


def become_reshape(node: Node, dims: tuple[int, ...]) -> None:
    """A Reshape of all axes; 0 copies an axis of the input, -1 is what is left of its elements."""
    _become(node, "Reshape", "reshape_param", {"shape": {"dim": dims}})


def become_permute(node: Node, order: tuple[int, ...]) -> None:
    """A Permute with all axes in its `order`."""
    _become(node, "Permute", "permute_param", {"order": order})


def become_scale(node: Node, scale: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """A Scale of the channels, float32 [C] each; without a bias where that is 0."""
    biased = bool(bias.any())
    _become(node, "Scale", "scale_param", {"bias_term": True} if biased else {})
    node.weights = {"scale": scale, "bias": bias} if biased else {"scale": scale}


def become_relu(node: Node, negative_slope: float = 0.0) -> None:
    """A ReLU with that slope below 0."""
    _become(node, "ReLU", "relu_param", {"negative_slope": negative_slope} if negative_slope else {})


def become_input(node: Node, shapes: tuple[tuple[int, ...], ...]) -> None:
    """An Input with these shapes, one for each top that it keeps; nothing may read the tops behind them."""
    node.op = INPUT
    declared: tuple[Plain, ...] = tuple({"dim": shape} for shape in shapes)
    node.attrs = {"input_param": {"shape": declared}}
    node.weights = {}
    node.outputs = node.outputs[: len(shapes)]


def _become(node: Node, type: str, field: str, parameters: Mapping[str, Plain]) -> None:
    """Caffe refuses `param` messages for blobs that a layer lacks, so what is said of training goes."""
    node.op = f"caffe.{type}"
    node.attrs = {key: value for key, value in node.attrs.items() if not key.endswith("param")}
    if parameters:
        node.attrs[field] = dict(parameters)
    node.weights = {}
