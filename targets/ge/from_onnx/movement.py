"""Ops that move, choose or repeat elements."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.ir import Node, Value
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable
from amctc.targets.ge.from_onnx.reading import (
    axes_of,
    axis_of,
    constant,
    data,
    finish,
    ints,
    longs,
    one,
    operand,
    operands_of,
    rank_of,
    scalar,
    whole,
    word,
)
from amctc.text.plain import Plain

_PADDINGS = ("constant", "reflect", "edge")


def _reshape(c: Crossing, node: Node) -> None:
    """Reshape with the same numbers, where 0 copies a size."""
    wanted = operand(c, node, 1)
    if whole(node, "allowzero", 0) and not (isinstance(wanted, np.ndarray) and wanted.all()):
        raise Unsayable("makes axes without elements (`allowzero`)")
    one(c, node, "Reshape", [data(c, node), wanted], {"axis": 0, "num_axes": -1})


def _flatten(c: Crossing, node: Node) -> None:
    """FlattenV2 from axis 1 on; else a Reshape to a matrix."""
    x = data(c, node)
    rank = rank_of(x)
    axis = whole(node, "axis", 1)
    if axis == 1 and rank > 1:
        one(c, node, "FlattenV2", [x], {"axis": 1, "end_axis": -1})
        return
    shape = node.output.shape
    if shape is None:
        raise Unsayable("has an output of an unknown shape")
    one(c, node, "Reshape", [x, longs(shape)], {"axis": 0, "num_axes": -1})


def _transpose(c: Crossing, node: Node) -> None:
    x = data(c, node)
    order = node_attribute(node, "perm", None)
    perm = tuple(order) if order is not None else tuple(reversed(range(rank_of(x))))
    one(c, node, "TransposeD", [x], {"perm": perm})


def _squeeze(c: Crossing, node: Node) -> None:
    axes = axes_of(c, node)
    one(c, node, "Squeeze", [data(c, node)], {"axis": axes or ()})


def _unsqueeze(c: Crossing, node: Node) -> None:
    """Axes of the result, counted from its front."""
    x, axes = data(c, node), axes_of(c, node)
    if axes is None:
        raise Unsayable("has no constant axes")
    rank = rank_of(x) + len(axes)
    one(c, node, "Unsqueeze", [x], {"axes": tuple(sorted(axis_of(axis, rank) for axis in axes))})


def _concat(c: Crossing, node: Node) -> None:
    """ConcatD; constants among the values become Consts that are values."""
    values = [data(c, node, index) for index in range(len(operands_of(c, node)))]
    axis = axis_of(whole(node, "axis", 0), rank_of(values[0]))
    one(c, node, "ConcatD", values, {"concat_dim": axis, "N": len(values)})


def _split(c: Crossing, node: Node) -> None:
    x = data(c, node)
    axis = axis_of(whole(node, "axis", 0), rank_of(x))
    parts = [value.shape for value in node.outputs]
    lengths = tuple(part[axis] for part in parts if part is not None)
    if len(lengths) < len(parts) or not all(lengths):
        raise Unsayable("has parts of unknown sizes, or without elements")
    if len(parts) == 1:
        one(c, node, "Identity", [x])
        return
    attributes: dict[str, Plain] = {"size_splits": lengths, "split_dim": axis, "num_split": len(lengths)}
    finish(c, node, *c.op(node, "SplitVD", [x], attributes, outputs=len(lengths)).outputs)


def _slice(c: Crossing, node: Node) -> None:
    """StridedSliceV2, with ONNX's own operands; those of older opsets are attributes."""
    found = [_bounds(c, node, index, name) for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)]
    starts, ends, axes, steps = found
    if starts is None or ends is None:
        raise Unsayable("has no starts or ends")
    one(c, node, "StridedSliceV2", [data(c, node), starts, ends, axes, steps])


def _bounds(c: Crossing, node: Node, index: int, name: str) -> Operand:
    given = node_attribute(node, name, None)
    found = longs(given) if given is not None else operand(c, node, index)
    return found.astype(np.int64) if isinstance(found, np.ndarray) else found


def _gather(c: Crossing, node: Node) -> None:
    """GatherV2 with its axis as a constant."""
    x, indices = operand(c, node, 0), operand(c, node, 1)
    rank = rank_of(x) if isinstance(x, Value) else np.ndim(x if x is not None else 0)
    axis = axis_of(whole(node, "axis", 0), rank)
    one(c, node, "GatherV2", [x, indices, longs((axis,))], {"batch_dims": 0, "negative_index_support": True})


def _expand(c: Crossing, node: Node) -> None:
    one(c, node, "Expand", [data(c, node), operand(c, node, 1)])


def _tile(c: Crossing, node: Node) -> None:
    times = ints(c, node, 1, "repeats")
    if times is None:
        raise Unsayable("has no repeats")
    one(c, node, "Tile", [data(c, node), longs(times)])


def _pad(c: Crossing, node: Node) -> None:
    """PadV3 with a pair of numbers for each axis."""
    x, mode = data(c, node), word(node, "mode", "constant")
    rank = rank_of(x)
    given = node_attribute(node, "pads", None)
    pads = tuple(given) if given is not None else ints(c, node, 1, "pads")
    axes = axes_of(c, node, 3)
    if pads is None or mode not in _PADDINGS or min(pads, default=0) < 0:
        raise Unsayable(f"pads in the mode `{mode}`, or cuts off")
    count = len(pads) // 2
    pairs = np.zeros((rank, 2), np.int64)
    for place, axis in enumerate(axes if axes is not None else range(count)):
        pairs[axis_of(axis, rank)] = (pads[place], pads[count + place])
    border = constant(c, node, 2, "border")
    if border is None:
        border = np.array(node_attribute(node, "value", 0), x.dtype)
    operands: list[Operand] = [x, pairs, scalar(border, "a border")]
    one(c, node, "PadV3", operands, {"mode": mode, "paddings_contiguous": True})


def _depth_to_space(c: Crossing, node: Node) -> None:
    attributes: dict[str, Plain] = {
        "block_size": whole(node, "blocksize", 0),
        "mode": word(node, "mode", "DCR"),
        "data_format": "NCHW",
    }
    one(c, node, "DepthToSpace", [data(c, node)], attributes)


def _space_to_depth(c: Crossing, node: Node) -> None:
    one(c, node, "SpaceToDepth", [data(c, node)], {"block_size": whole(node, "blocksize", 0), "data_format": "NCHW"})


MOVEMENT: Mapping[str, Rule] = MappingProxyType(
    {
        "onnx.Reshape": _reshape,
        "onnx.Flatten": _flatten,
        "onnx.Transpose": _transpose,
        "onnx.Squeeze": _squeeze,
        "onnx.Unsqueeze": _unsqueeze,
        "onnx.Concat": _concat,
        "onnx.Split": _split,
        "onnx.Slice": _slice,
        "onnx.Gather": _gather,
        "onnx.Expand": _expand,
        "onnx.Tile": _tile,
        "onnx.Pad": _pad,
        "onnx.DepthToSpace": _depth_to_space,
        "onnx.SpaceToDepth": _space_to_depth,
    }
)
