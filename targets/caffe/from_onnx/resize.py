"""Resize, where a Caffe layer takes the very same elements with the very same weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Node
from amctc.targets.caffe.from_onnx.builder import Crossing, Rule, Unsayable, attribute, need_shape, word
from amctc.text.plain import Plain

_BILINEAR: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "align_corners": ("Interp", ""),
        "half_pixel": ("BilinearInterpolate", "align_corners"),
        "pytorch_half_pixel": ("BilinearInterpolate", "align_corners"),
        "asymmetric": ("Resize", ""),
    }
)


def cross_resize(c: Crossing, node: Node) -> None:
    """Upsample for whole factors of the nearest element; Interp, BilinearInterpolate or Resize for bilinear ones."""
    data, wanted = c.data(node), c.wanted_shape(node)
    shape = need_shape(data)
    if wanted is None or len(shape) != 4 or wanted[:2] != shape[:2]:
        raise Unsayable("resizes other axes than height and width of images, or to sizes that are not known")
    if attribute(node, "antialias", 0) or attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsayable("smooths, or keeps the aspect ratio")
    mode = word(node, "mode", "nearest")
    if mode == "nearest":
        _nearest(c, node, shape[2:], wanted[2:])
    elif mode == "linear":
        _linear(c, node, shape[2:], wanted[2:])
    else:
        raise Unsayable(f"resizes in the mode `{mode}`")


def _nearest(c: Crossing, node: Node, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    high, wide = new[0] // old[0], new[1] // old[1]
    if (old[0] * high, old[1] * wide) != new or not high * wide:
        raise Unsayable("takes the nearest elements by factors that are not whole")
    for size, times in zip(old, (high, wide), strict=True):
        if not np.array_equal(_places(node, size, times), np.arange(size * times) // times):
            raise Unsayable("takes the nearest elements otherwise than each one so many times")
    parameters: dict[str, Plain] = {"stride": high} if high == wide else {"stride_h": high, "stride_w": wide}
    c.finish(node, c.map(node, "Upsample", c.data(node), parameters))


def _places(node: Node, size: int, times: int) -> NDArray[np.int64]:
    """Which element of an axis each element of the result is."""
    out = np.arange(size * times, dtype=np.float64)
    match word(node, "coordinate_transformation_mode", "half_pixel"):
        case "asymmetric":
            place = out / times
        case "align_corners":
            place = out * (size - 1) / max(size * times - 1, 1)
        case "half_pixel" | "pytorch_half_pixel":
            place = (out + 0.5) / times - 0.5
        case other:
            raise Unsayable(f"has the coordinates `{other}`")
    match word(node, "nearest_mode", "round_prefer_floor"):
        case "floor":
            found = np.floor(place)
        case "ceil":
            found = np.ceil(place)
        case "round_prefer_ceil":
            found = np.floor(place + 0.5)
        case _:
            found = np.ceil(place - 0.5)
    return np.clip(found, 0, size - 1).astype(np.int64)


def _linear(c: Crossing, node: Node, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    how = word(node, "coordinate_transformation_mode", "half_pixel")
    if how not in _BILINEAR:
        raise Unsayable(f"has the coordinates `{how}`")
    scales = c.constant(node, 2, "scales")
    if scales is not None and scales.size == 4:
        exact = [float(scale) * size for scale, size in zip(scales.reshape(-1)[2:], old, strict=True)]
        if how != "align_corners" and [round(size, 4) for size in exact] != [float(size) for size in new]:
            raise Unsayable("has scales that are not the quotients of its sizes")
    if how == "asymmetric" and any(after > before for before, after in zip(old, new, strict=True)):
        raise Unsayable("has the coordinates `asymmetric`, at whose end Caffe's Resize counts zeros")
    if how == "pytorch_half_pixel" and 1 in new and new != old:
        raise Unsayable("has the coordinates `pytorch_half_pixel` and an axis of one element")
    type, corners = _BILINEAR[how]
    parameters: dict[str, Plain] = {"height": new[0], "width": new[1]}
    if corners:
        parameters = {"dst_h": new[0], "dst_w": new[1], corners: False}
    c.finish(node, c.map(node, type, c.data(node), parameters))


RESIZE: Mapping[str, Rule] = MappingProxyType({"Resize": cross_resize})
