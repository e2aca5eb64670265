"""Dividing the input channels of a linear layer's data by factors, and multiplying its weights."""

from __future__ import annotations

from collections import Counter

import numpy as np

from amctc.dialects.multiplying import insert_multiplier
from amctc.dialects.scaling import data_channels, scale_channels, way_obstacle, way_values
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Balance, Graph, Node, Use
from amctc.pipeline.context import Context

FACTORS = "tensor_balance_factor"
"""What the constant of the layer in front is called, behind the name of the balanced layer and a dot."""


def balance_obstacle(node: Node, context: Context) -> str | None:
    """Why the input channels of a node cannot be balanced, as a sentence; None where they can."""
    found = data_channels(node)
    if isinstance(found, str):
        return found
    trait = linear_trait(node)
    if node.weights[trait.weight].dtype.kind != "f":
        return f"the weights of `{node.name}` are quantized already"
    if context.fact(uses_of_arrays, node.graph)[id(node.weights[trait.weight])] > 1:
        return f"`{node.name}` shares its weights with another layer"
    return None


def apply_balance(node: Node, balance: Balance, by: str, why: str, context: Context) -> None:
    """Multiply the weights of a layer by factors, divide its data by them, and remember it in its annotation.

    What divides is the layer that gives the channels where `balance` says so, else a new layer in front. Raises
    `ValueError` where the factors do not fit (see `balance_obstacle` and `way_to`). The network computes the same.
    """
    found = data_channels(node)
    if isinstance(found, str):
        raise ValueError(found)
    axis, channels = found
    factors = np.array(balance.factors, np.float32)
    if len(factors) != channels:
        raise ValueError(f"{len(factors)} factors for {channels} channels")
    way = way_to(node, context) if balance.folded else None
    if isinstance(way, str):
        raise ValueError(way)
    scale_channels(node, factors.astype(np.float64), None)
    node.record(by, f"{why}: input channels times {factors.min():.4g} … {factors.max():.4g}")
    if way is not None:
        divisors = factors.astype(np.float64)
        scale_channels(way[0], None, divisors)
        way[0].record(by, f"output channels divided by the factors of `{node.name}`")
        context.divided.update({value.name: (at, divisors) for value, at in way_values(way[0], way[1:])})
    else:
        constant = f"{node.name}.{FACTORS}"
        made = insert_multiplier(Use(node, 0), f"{node.name}.mul", constant, np.float32(1) / factors, axis)
        made.record(by, f"divides the data of `{node.name}` by the factors of its channels")
    if node.quant is not None:
        node.quant = node.quant.with_balance(balance)


def way_to(node: Node, context: Context) -> tuple[Node, ...] | str:
    """The linear layer whose output channels are those that a layer reads, and all between them.

    In between there is only what is positively homogeneous in each channel, as ReLU is: f(x / s) = f(x) / s. Where
    there is no such layer, or others read what it gives, the reason, as a sentence.
    """
    way, value = list[Node](), node.inputs[0]
    while True:
        giver, row = value.producer, op_def(value.producer)
        if not node.graph.has_single_use(value):
            return f"`{value.blob}` is read by others too, or an output of the network"
        way.insert(0, giver)
        if row.linear is not None:
            break
        if row.reshaping is None and not (row.homogeneous is not None and row.homogeneous(giver)):
            return f"{giver.type} is not positively homogeneous: f(s*x) is not s*f(x)"
        value = giver.inputs[0]
    found = data_channels(node)
    reason = found if isinstance(found, str) else balance_obstacle(giver, context)
    if reason is None and linear_trait(giver).out_channels(giver) != found[1]:
        reason = f"the channels of `{giver.name}` are not those that `{node.name}` reads"
    return reason or way_obstacle(giver, way[1:], node) or tuple(way)


def uses_of_arrays(graph: Graph) -> Counter[int]:
    """How many layers hold each weight array, by its identity."""
    return Counter(key for node in graph.nodes for key in {id(array) for array in node.weights.values()})
