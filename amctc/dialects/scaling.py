"""Multiplying the input and output channels of a linear layer, and what lies between two such layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import LinearChannels
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Node, Value


def channel_magnitudes(node: Node, channels: int | None = None) -> NDArray[np.float64]:
    """The largest magnitude of the weights of a linear layer between each two channels, [groups, Cout/g, Cin/g].

    `channels` is how many channels what it reads has, where each of them is several neighbouring ones of the layer's
    own: one behind a Flatten.
    """
    parts = _split(node)
    groups, outputs, inputs, rest = parts.shape
    each = 1 if channels is None else groups * inputs // channels
    magnitudes = np.abs(parts.astype(np.float32, copy=False).reshape(groups, outputs, inputs // each, each * rest))
    return np.asarray(magnitudes.max(axis=3, initial=0), np.float64)


def scale_channels(node: Node, inputs: NDArray[np.float64] | None, outputs: NDArray[np.float64] | None) -> None:
    """Multiply the weights of each input channel, and divide those of each output channel with its bias.

    As in `scaled_weight`; computed in float64 and rounded once.
    """
    trait = linear_trait(node)
    node.weights[trait.weight] = scaled_weight(node, node.weights[trait.weight], inputs, outputs)
    bias = node.weights.get(trait.bias)
    if bias is not None and outputs is not None:
        node.weights[trait.bias] = (bias.astype(np.float64) / outputs.reshape(bias.shape)).astype(bias.dtype)


def scaled_weight(
    node: Node,
    weight: NDArray[np.generic],
    inputs: NDArray[np.float64] | None,
    outputs: NDArray[np.float64] | None = None,
) -> NDArray[np.generic]:
    """Weights of a linear layer with those of each input channel multiplied, and those of each output channel divided.

    `inputs` may have fewer factors than the layer has input channels: then each goes with as many neighbouring ones.
    The result has the element type of the weights.
    """
    channels = channels_of(node)
    parts = channels.split(node, weight)
    groups, rows, columns, _ = parts.shape
    factors = np.ones((groups, rows, columns, 1))
    if inputs is not None:
        each = groups * columns // len(inputs)
        factors *= np.repeat(inputs, each).reshape(groups, 1, columns, 1)
    if outputs is not None:
        factors /= outputs.reshape(groups, rows, 1, 1)
    return channels.join(node, (parts.astype(np.float64) * factors).astype(weight.dtype))


def channels_of(node: Node) -> LinearChannels:
    """What is known of the channels of a linear layer; ValueError where nothing is."""
    found = linear_trait(node).channels
    if found is None:
        raise ValueError(f"nothing is known of the input channels of {node.op}")
    return found


def data_channels(node: Node) -> tuple[int, int] | str:
    """(axis, number) of the channels of what a layer reads, or the reason why they cannot be told apart.

    The number divides that of the layer's own input channels: where it takes several axes as one (InnerProduct), each
    channel of the first of them is several neighbouring ones of the layer's.
    """
    trait = op_def(node).linear
    if trait is None or trait.channels is None:
        return f"the input channels of a {node.type} cannot be told apart"
    if trait.weight not in node.weights:
        return f"`{node.name}` has no weights"
    if len(node.inputs) != 1:
        return f"`{node.name}` has {len(node.inputs)} inputs, with the same weights for all"
    shape = node.inputs[0].shape
    if shape is None:
        return f"the shape of what `{node.name}` reads is not known"
    axis = trait.channels.input_axis(node, shape)
    return axis, shape[axis]


def way_obstacle(first: Node, between: Sequence[Node], second: Node) -> str | None:
    """Why the output channels of `first` are not those that `second` reads, several of them each; None where they are.

    `between` are layers that look at each element alone, or at each channel, or only give another shape. Then on the
    whole way the elements from some axis on are those of the first channel, then those of the second, and so on.
    """
    shape = first.output.shape
    if shape is None:
        return f"the shape of what `{first.name}` gives is not known"
    trait = linear_trait(first)
    channels, outer = trait.out_channels(first), math.prod(shape[: trait.channel_axis(first, shape)])
    for node in between:
        given = node.inputs[0].shape
        if given is None:
            return f"the shape of what `{node.name}` reads is not known"
        row = op_def(node)
        if row.activation or row.identity or row.reshaping is not None:
            continue
        axis, became = row.channel_axis(node), node.output.shape
        if axis < 0:
            axis += len(given)
        if len(given) < 2 or math.prod(given[:axis]) != outer or given[axis] % channels:
            return f"the channels of `{first.name}` are not on axis {axis}, where `{node.name}` has its own"
        if became is None:
            return f"the shape of what `{node.name}` gives is not known"
        outer = math.prod(became[:axis])
    given = second.inputs[0].shape
    if given is None:
        return f"the shape of what `{second.name}` reads is not known"
    axis = channels_of(second).input_axis(second, given)
    groups, _, inputs, _ = _split(second).shape
    if math.prod(given[:axis]) != outer or (groups * inputs) % channels or inputs % (groups * inputs // channels):
        return f"the channels of `{first.name}` are not those that `{second.name}` reads"
    return None


def way_values(first: Node, between: Sequence[Node]) -> Iterator[tuple[Value, int]]:
    """The values on a way without obstacle, each with the axis at which the channels of `first` begin.

    They take one axis there, or, behind a Flatten, a part of one, channel after channel.
    """
    shape = first.output.shape or ()
    axis = linear_trait(first).channel_axis(first, shape)
    yield first.output, axis
    for node in between:
        outer, shape = math.prod(shape[:axis]), node.output.shape or ()
        if op_def(node).reshaping is not None:
            axis = next(each for each in range(len(shape)) if math.prod(shape[:each]) == outer)
        yield node.output, axis


def _split(node: Node) -> NDArray[np.generic]:
    return channels_of(node).split(node, node.weights[linear_trait(node).weight])
