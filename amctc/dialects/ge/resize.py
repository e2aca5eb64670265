"""Images made larger and smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from amctc.dialects.ge.fields import element_type, flag, ints, number, whole, word
from amctc.dialects.ge.onnx_form import Given, constant_ints, given_at, longs, onnx_kin, onnx_row
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.onnx.operands import ABSENT, role_at
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

_RANK = 4
_SIZES = role_at("Resize", 3)


def _coordinates(node: Node, mode: str) -> dict[str, Plain]:
    """ONNX's words for TensorFlow's two flags; the nearest element is rounded up at the half, or cut off."""
    corners, centers = flag(node, "align_corners"), flag(node, "half_pixel_centers")
    if corners and centers:
        raise OpError("has both `align_corners` and `half_pixel_centers`")
    how = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
    attrs: dict[str, Plain] = {"mode": mode, "coordinate_transformation_mode": how}
    if mode == "nearest":
        attrs["nearest_mode"] = "round_prefer_ceil" if corners or centers else "floor"
    return attrs


def _resize_to(node: Node, mode: str) -> Kin:
    """To a height and a width."""
    sizes = ints(node, "size") if node.type.endswith("D") else constant_ints(node, "size")
    if len(sizes) != 2 or min(sizes) < 1:
        raise OpError(f"`size` must be a height and a width, not {list(sizes)}")
    moved = data_format(node) == NHWC

    def shaped(shape: Shape | None) -> Mapping[str, Array]:
        """All four sizes: samples and channels stay what they are."""
        if shape is not None and len(shape) != _RANK:
            raise OpError(f"reads data of {len(shape)} axes, where images have {_RANK}")
        return {_SIZES: longs((*(shape or (1, 1))[:2], *sizes))}

    kin = onnx_kin("Resize", [0, None, None], {**_coordinates(node, mode), ABSENT: (1, 2)}, moved=moved)
    return replace(kin, shaped=shaped)


def _bilinear(node: Node) -> Kin:
    if node.type == "ResizeBilinearV2" and element_type(node, "dtype") != "float32":
        raise NoKin("cannot be run: a result of another type than float32 is not supported")
    return _resize_to(node, "linear")


def _nearest(node: Node) -> Kin:
    return _resize_to(node, "nearest")


def _resize(node: Node) -> Kin:
    """GE's Resize has the attributes of ONNX's."""
    attrs: dict[str, Plain] = {
        "coordinate_transformation_mode": word(node, "coordinate_transformation_mode"),
        "cubic_coeff_a": number(node, "cubic_coeff_a"),
        "exclude_outside": whole(node, "exclude_outside"),
        "extrapolation_value": number(node, "extrapolation_value"),
        "mode": word(node, "mode"),
        "nearest_mode": word(node, "nearest_mode"),
    }
    sizes = given_at(node, "sizes")
    if isinstance(sizes, np.ndarray):
        sizes = sizes.astype(np.int64).reshape(-1)
    found: list[Given] = [given_at(node, "x"), given_at(node, "roi"), given_at(node, "scales"), sizes]
    return onnx_kin("Resize", found, attrs)


RESIZE_OPS: tuple[OpDef, ...] = (
    onnx_row("ResizeBilinearV2", "Resize", _bilinear, notes="size [height, width]"),
    onnx_row("ResizeBilinearV2D", "Resize", _bilinear, notes="size [height, width]"),
    onnx_row("ResizeNearestNeighborV2", "Resize", _nearest, notes="size [height, width]"),
    onnx_row("ResizeNearestNeighborV2D", "Resize", _nearest, notes="size [height, width]"),
    onnx_row("Resize", "Resize", _resize),
)
