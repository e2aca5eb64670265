"""What moves, selects, repeats or makes elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.combine import concat_axis
from amctc.dialects.caffe.data_layers import dummy_values
from amctc.dialects.caffe.movement import crop_starts, permutation, slice_sizes, tile_axis
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.reduction import Places, arg_places
from amctc.dialects.caffe.selection import EMBED
from amctc.dialects.caffe.spatial import windows_of
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors


def reshape(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The same elements under the shape that the op infers."""
    (shape,) = op_def(layer.node).infer(layer.node, shapes)
    return lambda inputs: (inputs[0].reshape(shape),)


def concat(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The inputs one behind the other along an axis."""
    axis = concat_axis(layer.node, len(shapes[0]))
    return lambda inputs: (torch.cat(inputs, axis),)


def cut(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Slice: the input in parts along an axis."""
    axis, sizes = slice_sizes(layer.node, shapes[0])
    return lambda inputs: tuple(torch.split(inputs[0], list(sizes), axis))


def crop(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The part of the first input that has the size of the second."""
    starts = crop_starts(layer.node, *shapes)
    (shape,) = op_def(layer.node).infer(layer.node, shapes)
    part = tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))
    return lambda inputs: (inputs[0][part],)


def permute(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The axes in another order."""
    order = permutation(layer.node, len(shapes[0]))
    return lambda inputs: (inputs[0].permute(order),)


def tile(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The input several times along an axis."""
    axis, times = tile_axis(layer.node, len(shapes[0]))
    repeats = tuple(times if place == axis else 1 for place in range(len(shapes[0])))
    return lambda inputs: (inputs[0].repeat(repeats),)


def split(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The input under several names."""
    count = len(layer.node.outputs)
    return lambda inputs: inputs * count


def im2col(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The windows of each place as channels: [N, C * taps, out...]."""
    windows = windows_of(params(layer.node, "convolution_param"), shapes[0])
    (shape,) = op_def(layer.node).infer(layer.node, shapes)
    rank, axis = len(windows.kernel), windows.axis
    folded = (math.prod(shapes[0][:axis]), *shapes[0][axis:])
    places = [
        torch.arange(k).unsqueeze(1) * d + torch.arange(out) * s
        for k, d, s, out in zip(
            windows.kernel, windows.dilation, windows.stride, windows.counts(shapes[0]), strict=True
        )
    ]
    padding = [pad for size in reversed(windows.pad) for pad in (size, size)]
    order = (0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))

    def run(inputs: Tensors) -> Tensors:
        found = functional.pad(inputs[0].reshape(folded), padding)
        # From the last axis on, because choosing makes two axes of one.
        for number in reversed(range(rank)):
            found = _chosen(found, number + 2, places[number].to(found.device))
        return (found.permute(order).reshape(shape),)

    return run


def _chosen(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """The elements at `places`, of two axes, in the stead of one axis."""
    found = x.index_select(axis, places.reshape(-1))
    return found.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def embed(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The row of the weights that each element names, plus the bias."""
    param = params(layer.node, EMBED)
    weight = layer.weight_reader("weight")
    bias = layer.weight_reader("bias") if param.bias_term else None
    rows = int(param.input_dim)

    def run(inputs: Tensors) -> Tensors:
        found = functional.embedding(_indices(layer, inputs[0], rows, "rows in the weights"), weight())
        return (found if bias is None else found + bias(),)

    return run


def batch_reindex(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The items of the batch that the second input names."""
    count = shapes[0][0]
    return lambda inputs: (inputs[0].index_select(0, _indices(layer, inputs[1], count, "items in the batch")),)


def choose(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Filter: the items of the batch whose selector is not 0."""

    def run(inputs: Tensors) -> Tensors:
        chosen = inputs[-1].detach().reshape(-1).nonzero().reshape(-1)
        return tuple(x.index_select(0, chosen) for x in inputs[:-1])

    return run


def _indices(layer: Layer, given: Tensor, count: int, of_what: str) -> Tensor:
    """Whole numbers in [0, count); `DiagnosticError` (AM433) otherwise."""
    floats = given.detach()
    bad = ~((floats > -1) & (floats < count))
    if bool(bad.any()):
        where = bad.nonzero()[0].tolist()
        message = f"the index {float(floats[tuple(where)]):g} at {where} names none of the {count} {of_what}"
        raise DiagnosticError(node_error("AM433", layer.node, message))
    return floats.trunc().to(torch.int64)


def arg_max(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Where the largest elements are, or what they are; of equal ones the last comes first. Without a gradient."""
    found = arg_places(layer.node, shapes[0])
    (shape,) = op_def(layer.node).infer(layer.node, shapes)
    return lambda inputs: (_arg_max(inputs[0].detach(), found, shape),)


def _arg_max(x: Tensor, found: Places, shape: Shape) -> Tensor:
    along = x.reshape(x.shape[0], -1) if found.axis is None else x.movedim(found.axis, -1)
    ordered = torch.sort(along.flip(-1), dim=-1, descending=True, stable=True)
    best = ordered.values[..., : found.top_k]
    places = along.shape[-1] - 1 - ordered.indices[..., : found.top_k].to(x.dtype)
    if found.axis is not None:
        return (best if found.values else places).movedim(-1, found.axis).reshape(shape)
    return (torch.stack((places, best), 1) if found.values else places).reshape(shape)


def parameter(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """A blob that is learned."""
    weight = layer.weight_reader("weight")
    return lambda inputs: (weight(),)


def dummy_data(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Constants."""
    made = op_def(layer.node).infer(layer.node, ())
    constants = tuple(
        torch.full(shape, float(np.float32(value)), device=layer.device)
        for shape, value in zip(made, dummy_values(layer.node), strict=True)
    )
    return lambda inputs: constants


def nothing(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """No outputs: the inputs count as read."""
    return lambda inputs: ()


MOVEMENT_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Flatten": reshape,
        "caffe.Reshape": reshape,
        "caffe.Unsqueeze": reshape,
        "caffe.Concat": concat,
        "caffe.Slice": cut,
        "caffe.Crop": crop,
        "caffe.Permute": permute,
        "caffe.Tile": tile,
        "caffe.Split": split,
        "caffe.Im2col": im2col,
        "caffe.Embed": embed,
        "caffe.BatchReindex": batch_reindex,
        "caffe.Filter": choose,
        "caffe.ArgMax": arg_max,
        "caffe.Parameter": parameter,
        "caffe.DummyData": dummy_data,
        "caffe.Silence": nothing,
        "caffe.HDF5Output": nothing,
    }
)
