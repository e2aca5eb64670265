"""Resize: GE's two ops of TensorFlow's where they take the same elements, else GE's Resize, which is ONNX's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable, need_shape
from amctc.targets.ge.from_onnx.reading import constant, data, number, one, whole, word
from amctc.text.plain import Plain

_RANK = 4
_FLAGS: Mapping[str, tuple[bool, bool]] = MappingProxyType(
    {"asymmetric": (False, False), "half_pixel": (False, True), "align_corners": (True, False)}
)
"""`align_corners` and `half_pixel_centers` by ONNX's word for the coordinates."""


def _resize(c: Crossing, node: Node) -> None:
    x, wanted = data(c, node), node.output.shape
    shape = need_shape(x)
    if whole(node, "antialias", 0) or node_attribute(node, "axes", None) is not None:
        raise Unsayable("smooths, or names its axes")
    if word(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsayable("keeps the aspect ratio")
    mode = word(node, "mode", "nearest")
    images = len(shape) == _RANK and wanted is not None and wanted[:2] == shape[:2]
    if images and wanted is not None and x.dtype == "float32":
        flags = _flags(c, node, mode, shape[2:], wanted[2:])
        if flags is not None:
            attributes: dict[str, Plain] = {"align_corners": flags[0], "half_pixel_centers": flags[1]}
            type = "ResizeBilinearV2" if mode == "linear" else "ResizeNearestNeighborV2"
            one(c, node, type, [x, np.array(wanted[2:], np.int32)], attributes)
            return
    _as_it_is(c, node)


def _as_it_is(c: Crossing, node: Node) -> None:
    """GE's Resize, with ONNX's attributes and operands."""
    attributes: dict[str, Plain] = {
        "coordinate_transformation_mode": word(node, "coordinate_transformation_mode", "half_pixel"),
        "cubic_coeff_a": number(node, "cubic_coeff_a", -0.75),
        "exclude_outside": whole(node, "exclude_outside", 0),
        "extrapolation_value": number(node, "extrapolation_value", 0.0),
        "mode": word(node, "mode", "nearest"),
        "nearest_mode": word(node, "nearest_mode", "round_prefer_floor"),
    }
    operands: list[Operand] = [data(c, node)]
    operands += [_unless_empty(c, node, index, name) for index, name in enumerate(("roi", "scales", "sizes"), start=1)]
    one(c, node, "Resize", operands, attributes)


def _unless_empty(c: Crossing, node: Node, index: int, what: str) -> Operand:
    found = constant(c, node, index, what)
    return found if found is not None and found.size else None


def _flags(c: Crossing, node: Node, mode: str, old: Shape, new: Shape) -> tuple[bool, bool] | None:
    """TensorFlow's two flags; None where its op would take other elements, or others' parts."""
    how = word(node, "coordinate_transformation_mode", "half_pixel")
    scales = constant(c, node, 2, "scales")
    if scales is not None and scales.size == _RANK:
        exact = [float(scale) * size for scale, size in zip(scales.reshape(-1)[2:], old, strict=True)]
        if how != "align_corners" and [round(size, 4) for size in exact] != [float(size) for size in new]:
            return None
    if how == "pytorch_half_pixel" and 1 not in new:
        how = "half_pixel"
    if mode == "linear":
        return _FLAGS.get(how)
    if mode != "nearest" or how not in _FLAGS:
        return None
    for candidate in dict.fromkeys((_FLAGS[how], *_FLAGS.values())):
        sides = zip(old, new, strict=True)
        if all(np.array_equal(_places(node, how, *side), _tensorflow_places(candidate, *side)) for side in sides):
            return candidate
    return None


def _places(node: Node, how: str, old: int, new: int) -> NDArray[np.int64]:
    """Which element of an axis each element of the result is, by ONNX."""
    place = _coordinates(how, old, new)
    match word(node, "nearest_mode", "round_prefer_floor"):
        case "floor":
            found = np.floor(place)
        case "ceil":
            found = np.ceil(place)
        case "round_prefer_ceil":
            found = np.floor(place + 0.5)
        case _:
            found = np.ceil(place - 0.5)
    return np.clip(found, 0, old - 1).astype(np.int64)


def _tensorflow_places(flags: tuple[bool, bool], old: int, new: int) -> NDArray[np.int64]:
    corners, centers = flags
    how = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
    place = _coordinates(how, old, new)
    found = np.floor(place + 0.5) if corners or centers else np.floor(place)
    return np.clip(found, 0, old - 1).astype(np.int64)


def _coordinates(how: str, old: int, new: int) -> NDArray[np.float64]:
    out = np.arange(new, dtype=np.float64)
    if how == "align_corners":
        return out * (old - 1) / max(new - 1, 1)
    if how == "half_pixel":
        return (out + 0.5) * old / new - 0.5
    return out * old / new


RESIZE: Mapping[str, Rule] = MappingProxyType({"onnx.Resize": _resize})
