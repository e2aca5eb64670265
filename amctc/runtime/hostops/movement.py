"""Host ops that pick or place elements by an index that the data hold: BatchReindex, Filter, Embed, unpooling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.selection import unpooling_steps
from amctc.dialects.shapes import node_error
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp, for_op
from amctc.runtime.lowering.builder import weight_of


def _run_batch_reindex(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    data, index = inputs
    return (data[_indices(node, index, len(data), "items in the batch")],)


def _run_filter(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    *data, selector = inputs
    chosen = selector.reshape(len(selector)) != 0
    return tuple(array[chosen] for array in data)


def _run_embed(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    weight = weight_of(node, "weight").astype(np.float32, copy=False)
    found = weight[_indices(node, inputs[0], len(weight), "rows in the weights")]
    if "bias" in node.weights:
        found += node.weights["bias"].astype(np.float32, copy=False)
    return (found,)


def _indices(node: Node, index: Array, count: int, of_what: str) -> NDArray[np.int64]:
    """Float indices cut to whole numbers, all of them in [0, count). Raises `DiagnosticError` (AM433) otherwise."""
    floats = index.astype(np.float64)
    bad = ~((floats > -1) & (floats < count))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        message = f"the index {floats[where]:g} at {list(where)} names none of the {count} {of_what}"
        raise DiagnosticError(node_error("AM433", node, message))
    return np.trunc(floats).astype(np.int64)


def _run_masked_unpooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    data, mask = inputs
    return (_place(data, mask.astype(np.float64), shapes[0]),)


def _run_unpooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    data, (high, wide) = inputs[0], shapes[0][2:]
    if len(inputs) > 1:
        return _run_masked_unpooling(node, inputs, shapes)
    stride, pad = unpooling_steps(node)
    rows, columns = (
        np.clip(np.arange(count, dtype=np.float64) * s - p, 0, size - 1)
        for count, s, p, size in zip(data.shape[2:], stride, pad, (high, wide), strict=True)
    )
    places = rows[:, None] * wide + columns
    return (_place(data, np.broadcast_to(places, data.shape), shapes[0]),)


def _place(data: Array, places: NDArray[np.float64], shape: Shape) -> NDArray[np.float32]:
    """Zeros of `shape` [N, C, H, W] with each element at its place in its channel's image."""
    count, channels, high, wide = shape
    images = np.zeros((count * channels, high * wide), np.float32)
    flat = places.reshape(count * channels, data.shape[2] * data.shape[3])
    inside = (flat > -1) & (flat < high * wide)
    image = np.broadcast_to(np.arange(count * channels)[:, None], flat.shape)[inside]
    images[image, flat[inside].astype(np.int64)] = data.reshape(flat.shape)[inside]
    return images.reshape(shape)


MOVEMENT_HOST_OPS: tuple[HostOp, ...] = (
    for_op("caffe.BatchReindex", _run_batch_reindex),
    for_op("caffe.Filter", _run_filter),
    for_op("caffe.Embed", _run_embed),
    for_op("caffe.MaxUnPool", _run_masked_unpooling),
    for_op("caffe.Unpooling", _run_unpooling),
)
