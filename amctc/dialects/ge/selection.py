"""Ops that move elements: all of them under another shape or in another order, or some of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from amctc.dialects.ge.become import RESHAPING, become
from amctc.dialects.ge.fields import element_type, flag, ints, whole, word
from amctc.dialects.ge.onnx_form import (
    Given,
    constant_ints,
    given_at,
    longs,
    moving,
    numbers_at,
    onnx_kin,
    onnx_row,
)
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, OpError, Permuting
from amctc.ir import Node
from amctc.text.plain import Plain

_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
_LARGEST = 2**31 - 1
"""ONNX cuts an end behind the last element down to that."""


# -- another shape ---------------------------------------------------------------------------------


def _squeeze(node: Node) -> Kin:
    axes = ints(node, "axis")
    return onnx_kin("Squeeze", [given_at(node, "x"), longs(axes) if axes else None])


def _unsqueeze(node: Node) -> Kin:
    return onnx_kin("Unsqueeze", [given_at(node, "x"), longs(ints(node, "axes"))])


def _expand_dims(node: Node) -> Kin:
    return onnx_kin("Unsqueeze", [given_at(node, "x"), longs(constant_ints(node, "axis"))])


def _shape(node: Node) -> Kin:
    return onnx_kin("Shape", [given_at(node, "x")], dtypes={0: element_type(node, "dtype")})


# -- another order ---------------------------------------------------------------------------------


def _order(node: Node) -> tuple[int, ...]:
    return ints(node, "perm") if node.type == "TransposeD" else constant_ints(node, "perm")


def _transpose(node: Node) -> Kin:
    return onnx_kin("Transpose", [given_at(node, "x")], {"perm": _order(node)})


def _transposed_order(node: Node, rank: int) -> tuple[int, ...]:
    return _order(node)


def _become_transpose(node: Node, order: tuple[int, ...]) -> None:
    become(node, "TransposeD", {"perm": order}, {})


def _depth_to_space(node: Node) -> Kin:
    attrs: dict[str, Plain] = {"blocksize": whole(node, "block_size"), "mode": word(node, "mode")}
    return Kin("onnx.DepthToSpace", attrs, moved=data_format(node) == NHWC)


def _space_to_depth(node: Node) -> Kin:
    return Kin("onnx.SpaceToDepth", {"blocksize": whole(node, "block_size")}, moved=data_format(node) == NHWC)


# -- some of them ----------------------------------------------------------------------------------


def _slice_d(node: Node) -> Kin:
    return _sliced(node, ints(node, "offsets"), ints(node, "size"))


def _slice(node: Node) -> Kin:
    return _sliced(node, constant_ints(node, "offsets"), constant_ints(node, "size"))


def _sliced(node: Node, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> Kin:
    """A size of -1 is all that is left."""
    if len(offsets) != len(sizes):
        raise OpError(f"has {len(offsets)} offsets, and {len(sizes)} sizes")
    if any(offset < 0 or size < -1 for offset, size in zip(offsets, sizes, strict=True)):
        raise OpError("has a negative offset or size")
    pairs = zip(offsets, sizes, strict=True)
    ends = [_LARGEST if size == -1 else offset + size for offset, size in pairs]
    return onnx_kin("Slice", [given_at(node, "x"), longs(offsets), longs(ends)])


def _strided_slice(node: Node) -> Kin:
    """Masks would change which axes there are: they are not supported."""
    if any(whole(node, mask) for mask in _MASKS):
        raise NoKin("cannot be run: masks of a strided slice are not supported")
    found: list[Given] = [given_at(node, "x")]
    if node.type == "StridedSliceD":
        steps = longs(ints(node, "strides"))
        found += [longs(ints(node, "begin")), longs(ints(node, "end")), None, steps]
    else:
        axes = numbers_at(node, "axes") if node.type == "StridedSliceV2" else None
        found += [numbers_at(node, "begin"), numbers_at(node, "end"), axes, numbers_at(node, "strides")]
    return onnx_kin("Slice", found)


def _gather(axis: Callable[[Node], int]) -> Callable[[Node], Kin]:
    def translate(node: Node) -> Kin:
        if node.type != "GatherV2D" and whole(node, "batch_dims"):
            raise NoKin("cannot be run: `batch_dims` is not supported")
        return onnx_kin("Gather", [given_at(node, "x"), given_at(node, "indices")], {"axis": axis(node)})

    return translate


def _axis_constant(node: Node) -> int:
    found = constant_ints(node, "axis")
    if len(found) != 1:
        raise OpError("`axis` must be one number")
    return found[0]


def _expand(node: Node) -> Kin:
    return onnx_kin("Expand", [given_at(node, "x"), numbers_at(node, "shape")])


def _tile(node: Node) -> Kin:
    return onnx_kin("Tile", [given_at(node, "x"), numbers_at(node, "multiples")])


def _tile_d(node: Node) -> Kin:
    return onnx_kin("Tile", [given_at(node, "x"), longs(ints(node, "multiples"))])


# -- borders ---------------------------------------------------------------------------------------


def _pad(node: Node) -> Kin:
    """Pairs of [before, behind], one for each axis."""
    return _padded(node, constant_ints(node, "paddings"), None, "constant", contiguous=True)


def _pad_d(node: Node) -> Kin:
    return _padded(node, _pairs_of(node), None, "constant", contiguous=True)


def _pad_v3(node: Node) -> Kin:
    border = given_at(node, "constant_values")
    if isinstance(border, np.ndarray):
        border = border.reshape(())
    numbers = constant_ints(node, "paddings")
    return _padded(node, numbers, border, word(node, "mode"), contiguous=flag(node, "paddings_contiguous"))


def _padded(node: Node, numbers: tuple[int, ...], border: Given, mode: str, *, contiguous: bool) -> Kin:
    if len(numbers) % 2:
        raise OpError("has an odd number of `paddings`")
    half = len(numbers) // 2
    pads = (*numbers[::2], *numbers[1::2]) if contiguous else numbers
    if len(pads) != 2 * half or mode not in ("constant", "reflect", "edge"):
        raise OpError(f"has the mode `{mode}`, which is none of constant, reflect and edge")
    return onnx_kin("Pad", [given_at(node, "x"), longs(pads), border], {"mode": mode})


def _pairs_of(node: Node) -> tuple[int, ...]:
    """The numbers of a list of lists, whatever form it is kept in."""
    found = node.attrs.get("paddings")
    inner = found.get("list_list_int") if isinstance(found, dict) else None
    lists = inner.get("list_list_i") if isinstance(inner, dict) else None
    numbers: list[int] = []
    for each in lists if isinstance(lists, tuple) else ():
        row = each.get("list_i") if isinstance(each, dict) else None
        if not isinstance(row, tuple) or len(row) != 2:
            raise OpError("`paddings` must have two numbers for each axis")
        numbers.extend(int(item) for item in row if isinstance(item, int))
    if not numbers or len(numbers) % 2:
        raise OpError("`paddings` must have two numbers for each axis")
    return tuple(numbers)


# -- rows ------------------------------------------------------------------------------------------


def _reshaping(type: str, like: str, translate: Callable[[Node], Kin]) -> OpDef:
    return moving(replace(onnx_row(type, like, translate), reshaping=RESHAPING))


def _permuting(type: str) -> OpDef:
    row = onnx_row(type, "Transpose", _transpose)
    return moving(replace(row, permuting=Permuting(_transposed_order, _become_transpose)))


SELECTION_OPS: tuple[OpDef, ...] = (
    _reshaping("Squeeze", "Squeeze", _squeeze),
    _reshaping("Unsqueeze", "Unsqueeze", _unsqueeze),
    _reshaping("ExpandDims", "Unsqueeze", _expand_dims),
    _permuting("Transpose"),
    _permuting("TransposeD"),
    moving(onnx_row("DepthToSpace", "DepthToSpace", _depth_to_space)),
    moving(onnx_row("SpaceToDepth", "SpaceToDepth", _space_to_depth)),
    onnx_row("SliceD", "Slice", _slice_d, notes="a size of -1 is all that is left"),
    onnx_row("Slice", "Slice", _slice, notes="a size of -1 is all that is left"),
    *(
        onnx_row(type, "Slice", _strided_slice, notes="run without masks")
        for type in ("StridedSliceD", "StridedSlice", "StridedSliceV2")
    ),
    onnx_row("Gather", "Gather", _gather(lambda node: 0), notes="along axis 0"),
    onnx_row("GatherV2", "Gather", _gather(_axis_constant)),
    onnx_row("GatherV2D", "Gather", _gather(lambda node: whole(node, "axis"))),
    onnx_row("Shape", "Shape", _shape),
    onnx_row("Expand", "Expand", _expand),
    onnx_row("Tile", "Tile", _tile),
    onnx_row("TileD", "Tile", _tile_d),
    onnx_row("Pad", "Pad", _pad, notes="paddings [[before, behind], ...] for each axis"),
    onnx_row("PadD", "Pad", _pad_d, notes="paddings [[before, behind], ...] for each axis"),
    onnx_row("PadV3", "Pad", _pad_v3, notes="without paddings_contiguous all of before, then all of behind"),
)
