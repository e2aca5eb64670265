"""Ops that move, choose or repeat elements."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.targets.caffe.from_onnx.builder import (
    Crossing,
    Rule,
    Unsayable,
    axis_of,
    need_shape,
    sizes,
    whole,
    word,
)
from amctc.text.plain import Plain


def cross_reshape(c: Crossing, node: Node) -> None:
    """Reshape, for ops that keep the elements in their order."""
    data = c.data(node)
    shape = c.wanted_shape(node) or _said_shape(c, node, need_shape(data))
    _reshape_to(c, node, data, shape)


def cross_flatten(c: Crossing, node: Node) -> None:
    data, shape = c.data(node), c.wanted_shape(node)
    if whole(node, "axis", 1) == 1 and len(need_shape(data)) > 1:
        c.finish(node, c.map(node, "Flatten", data))
    elif shape is None:
        raise Unsayable("has an output of an unknown shape")
    else:
        _reshape_to(c, node, data, shape)


def _reshape_to(c: Crossing, node: Node, data: Value, shape: Shape) -> None:
    old = need_shape(data)
    keeps = bool(old) and bool(shape) and old[0] == shape[0]
    c.finish(node, c.map(node, "Reshape", data, {"shape": {"dim": (0, *shape[1:]) if keeps else shape}}))


def _said_shape(c: Crossing, node: Node, source: Shape) -> Shape:
    """The shape that a Reshape's constant second operand says."""
    wanted = c.ints(node, 1, "shape")
    if node.type != "Reshape" or wanted is None:
        raise Unsayable("has an output of an unknown shape")
    copies = not whole(node, "allowzero", 0)
    dims = [source[i] if size == 0 and copies and i < len(source) else size for i, size in enumerate(wanted)]
    if -1 in dims:
        known = int(np.prod([size for size in dims if size != -1]))
        dims[dims.index(-1)] = int(np.prod(source)) // known if known else 0
    return tuple(dims)


def cross_transpose(c: Crossing, node: Node) -> None:
    data = c.data(node)
    rank = len(need_shape(data))
    c.finish(node, c.map(node, "Permute", data, {"order": sizes(node, "perm", tuple(reversed(range(rank))))}))


def cross_concat(c: Crossing, node: Node) -> None:
    values = [c.data(node, index) for index in range(len(c.operands(node)))]
    axis = axis_of(whole(node, "axis", 0), len(need_shape(values[0])))
    c.finish(node, c.layer(node, "Concat", values, {"axis": axis}).output)


def cross_split(c: Crossing, node: Node) -> None:
    """Slice with a top for each part."""
    data = c.data(node)
    shape = need_shape(data)
    axis = axis_of(whole(node, "axis", 0), len(shape))
    parts = [c.wanted_shape(node, index) for index in range(len(node.outputs))]
    lengths = [part[axis] for part in parts if part is not None]
    if len(lengths) < len(parts):
        raise Unsayable("has parts of unknown sizes")
    c.finish(node, *_slice(c, node, data, axis, lengths))


def _slice(c: Crossing, node: Node, data: Value, axis: int, lengths: list[int], part: str = "") -> tuple[Value, ...]:
    if min(lengths) < 1:
        raise Unsayable("has a part without elements")
    if len(lengths) == 1:
        return (c.map(node, "Power", data, part=part),)
    points = tuple(int(end) for end in np.cumsum(lengths)[:-1])
    parameters: dict[str, Plain] = {"axis": axis, "slice_point": points}
    return c.layer(node, "Slice", [data], parameters, part=part, tops=len(lengths)).outputs


def cross_slice(c: Crossing, node: Node) -> None:
    """A Slice for each axis that something is cut off; a Silence takes what is not wanted."""
    data = c.data(node)
    shape = need_shape(data)
    starts, ends = c.ints(node, 1, "starts"), c.ints(node, 2, "ends")
    if starts is None or ends is None:
        raise Unsayable("has no starts or ends")
    axes = c.ints(node, 3, "axes") or tuple(range(len(starts)))
    steps = c.ints(node, 4, "steps") or (1,) * len(starts)
    if set(steps) != {1}:
        raise Unsayable("takes every n-th element (`steps`)")
    cuts: list[tuple[int, int, int]] = []
    for axis, start, end in zip(axes, starts, ends, strict=True):
        place = axis_of(axis, len(shape))
        first, last, _ = slice(start, end).indices(shape[place])
        if (first, last) != (0, shape[place]):
            cuts.append((place, first, last))
    if not cuts:
        c.finish(node, c.map(node, "Power", data))
        return
    for number, (axis, first, last) in enumerate(cuts):
        part = "" if number == len(cuts) - 1 else f"axis{axis}"
        data = _cut(c, node, data, axis, (first, last), part)
    c.finish(node, data)


def _cut(c: Crossing, node: Node, data: Value, axis: int, edges: tuple[int, int], part: str) -> Value:
    first, last = edges
    if last <= first:
        raise Unsayable("keeps nothing")
    size = need_shape(data)[axis]
    lengths = [length for length in (first, last - first, size - last) if length]
    tops = _slice(c, node, data, axis, lengths, part)
    kept = tops[1 if first else 0]
    unwanted = [top for top in tops if top is not kept]
    c.layer(node, "Silence", unwanted, part="unwanted", tops=0)
    return kept


def cross_gather(c: Crossing, node: Node) -> None:
    """Slice, where the indices are one, or follow each other."""
    data, index = c.data(node), c.constant(node, 1, "indices")
    shape = need_shape(data)
    axis = axis_of(whole(node, "axis", 0), len(shape))
    if index is None or index.ndim > 1 or not index.size:
        raise Unsayable("has indices of several axes")
    places = [int(place) % shape[axis] for place in index.reshape(-1)]
    if places != list(range(places[0], places[0] + len(places))):
        raise Unsayable("has indices that do not follow each other")
    whole_axis = len(places) == shape[axis]
    if whole_axis:
        kept = data if not index.ndim else c.map(node, "Power", data)
    else:
        kept = _cut(c, node, data, axis, (places[0], places[-1] + 1), "" if index.ndim else "slice")
    if not index.ndim:
        wanted = (*shape[:axis], *shape[axis + 1 :])
        dims = (0, *wanted[1:]) if axis else wanted
        kept = c.map(node, "Reshape", kept, {"shape": {"dim": dims}})
    c.finish(node, kept)


def cross_pad(c: Crossing, node: Node) -> None:
    """Pad, around images."""
    data, pads = c.data(node), c.ints(node, 1, "pads")
    value, axes = c.constant(node, 2, "value"), c.ints(node, 3, "axes")
    shape = need_shape(data)
    mode = word(node, "mode", "constant")
    kinds = {"constant": "CONSTANT", "edge": "REPLICATE", "reflect": "REFLECT"}
    if pads is None or mode not in kinds:
        raise Unsayable(f"pads in the mode `{mode}`")
    where = axes or tuple(range(len(shape)))
    both = {axis_of(axis, len(shape)): (pads[i], pads[i + len(where)]) for i, axis in enumerate(where)}
    if not any(map(any, both.values())):
        c.finish(node, c.map(node, "Power", data))
        return
    if len(shape) != 4 or any(any(sides) for axis, sides in both.items() if axis < 2):
        raise Unsayable("pads other axes than height and width of images")
    (up, down), (left, right) = both.get(2, (0, 0)), both.get(3, (0, 0))
    parameters: dict[str, Plain] = {"pad_type": kinds[mode], "pad_u": up, "pad_d": down, "pad_l": left, "pad_r": right}
    if value is not None and bool(value.any()):
        parameters["pad_value"] = float(value.reshape(-1).astype(np.float32)[0])
    c.finish(node, c.map(node, "Pad", data, parameters))


def cross_depth_to_space(c: Crossing, node: Node) -> None:
    """PixelShuffle, or Reorg backwards."""
    data, size = c.data(node), whole(node, "blocksize", 1)
    if word(node, "mode", "DCR") == "CRD":
        c.finish(node, c.map(node, "PixelShuffle", data, {"upscale_factor": size}))
    else:
        c.finish(node, c.map(node, "Reorg", data, {"stride": size, "reverse": True}))


def cross_space_to_depth(c: Crossing, node: Node) -> None:
    c.finish(node, c.map(node, "Reorg", c.data(node), {"stride": whole(node, "blocksize", 1)}))


def cross_tile(c: Crossing, node: Node) -> None:
    data, repeats = c.data(node), c.ints(node, 1, "repeats")
    if repeats is None:
        raise Unsayable("has no repeats")
    _tile(c, node, data, repeats)


def cross_expand(c: Crossing, node: Node) -> None:
    data, wanted = c.data(node), c.wanted_shape(node)
    shape = need_shape(data)
    if wanted is None or len(wanted) != len(shape):
        raise Unsayable("gives more axes than it gets, or nobody knows how many")
    _tile(c, node, data, tuple(new // max(old, 1) for old, new in zip(shape, wanted, strict=True)))


def _tile(c: Crossing, node: Node, data: Value, repeats: tuple[int, ...]) -> None:
    axes = [(axis, times) for axis, times in enumerate(repeats) if times != 1]
    if not axes:
        c.finish(node, c.map(node, "Power", data))
        return
    for number, (axis, times) in enumerate(axes):
        part = "" if number == len(axes) - 1 else f"axis{axis}"
        data = c.map(node, "Tile", data, {"axis": axis, "tiles": times}, part=part)
    c.finish(node, data)


MOVEMENT: Mapping[str, Rule] = MappingProxyType(
    {
        "Reshape": cross_reshape,
        "Squeeze": cross_reshape,
        "Unsqueeze": cross_reshape,
        "Flatten": cross_flatten,
        "Transpose": cross_transpose,
        "Concat": cross_concat,
        "Split": cross_split,
        "Slice": cross_slice,
        "Gather": cross_gather,
        "Pad": cross_pad,
        "DepthToSpace": cross_depth_to_space,
        "SpaceToDepth": cross_space_to_depth,
        "Tile": cross_tile,
        "Expand": cross_expand,
    }
)
