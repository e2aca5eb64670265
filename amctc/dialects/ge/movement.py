"""Ops that move, cut and repeat: Reshape, Flatten, Permute, TileWithAxis, Crop, and those of blocks and channels."""

from __future__ import annotations

from dataclasses import replace

from amctc.dialects.caffe.movement import permutation
from amctc.dialects.ge.become import RESHAPING, become_permute
from amctc.dialects.ge.fields import flag, ints, number, whole
from amctc.dialects.ge.filled import constant, has_value, lies_nhwc, value_number
from amctc.dialects.ge.onnx_form import moving, numbers_at, onnx_kin
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, kin_of
from amctc.dialects.op import OpDef, OpError, Permuting
from amctc.ir import Node
from amctc.text.plain import Plain

_MOST_AXES = 32


def _reshape(node: Node) -> Kin:
    """Caffe's Reshape; ONNX's where the shape is data."""
    if has_value(node, "shape") and (whole(node, "axis"), whole(node, "num_axes")) == (0, -1):
        return onnx_kin("Reshape", [value_number(node, "x"), numbers_at(node, "shape")])
    shape = constant(node, "shape")
    if shape.dtype.kind not in "iu" or shape.ndim > 1 or shape.size > _MOST_AXES:
        raise OpError(f"needs at most {_MOST_AXES} whole numbers as its `shape`")
    param: dict[str, Plain] = {
        "shape": {"dim": tuple(int(size) for size in shape.reshape(-1))},
        "axis": whole(node, "axis"),
        "num_axes": whole(node, "num_axes"),
    }
    return Kin("caffe.Reshape", {"reshape_param": param}, {}, (value_number(node, "x"),))


def _flatten(node: Node) -> Kin:
    return Kin("onnx.Flatten", {"axis": whole(node, "axis")})


def _flatten_v2(node: Node) -> Kin:
    return Kin("caffe.Flatten", {"flatten_param": {name: whole(node, name) for name in ("axis", "end_axis")}})


def _permute(node: Node) -> Kin:
    return Kin("caffe.Permute", {"permute_param": {"order": ints(node, "order")}})


def _order(node: Node, rank: int) -> tuple[int, ...]:
    return permutation(kin_of(node).node, rank)


def _tile(node: Node) -> Kin:
    return Kin("caffe.Tile", {"tile_param": {name: whole(node, name) for name in ("axis", "tiles")}})


def _crop(node: Node) -> Kin:
    param: dict[str, Plain] = {"axis": whole(node, "axis"), "offset": ints(node, "offsets")}
    return Kin("caffe.Crop", {"crop_param": param}, {}, (value_number(node, "x"), value_number(node, "size")))


def _shuffle(node: Node) -> Kin:
    return Kin(
        "caffe.ShuffleChannel", {"shuffle_channel_param": {"group": whole(node, "group")}}, moved=lies_nhwc(node)
    )


def _pass_through(node: Node) -> Kin:
    param: dict[str, Plain] = {"stride": whole(node, "stride"), "reverse": flag(node, "reverse")}
    return Kin("caffe.Reorg", {"reorg_param": param}, moved=lies_nhwc(node))


def _upsample(node: Node) -> Kin:
    param: dict[str, Plain] = {
        "scale": number(node, "scale"),
        "stride_h": whole(node, "stride_h"),
        "stride_w": whole(node, "stride_w"),
    }
    return Kin("caffe.Upsample", {"upsample_param": param}, moved=lies_nhwc(node))


def _spp(node: Node) -> Kin:
    param: dict[str, Plain] = {"pyramid_height": whole(node, "pyramid_height"), "pool": whole(node, "pool_method")}
    return Kin("caffe.SPP", {"spp_param": param}, moved=lies_nhwc(node))


MOVEMENT_OPS: tuple[OpDef, ...] = (
    moving(
        replace(
            kin_row("Reshape", _reshape, "caffe.Reshape", notes="shape: 0 copies an axis, -1 is what is left"),
            reshaping=RESHAPING,
        )
    ),
    replace(kin_row("Flatten", _flatten, "onnx.Flatten"), reshaping=RESHAPING),
    replace(kin_row("FlattenV2", _flatten_v2, "caffe.Flatten"), reshaping=RESHAPING),
    replace(kin_row("Permute", _permute, "caffe.Permute"), permuting=Permuting(_order, become_permute)),
    kin_row("TileWithAxis", _tile, "caffe.Tile"),
    kin_row("Crop", _crop, "caffe.Crop", notes="`axis` and `offsets` are those of the data as they lie"),
    kin_row("ShuffleChannel", _shuffle, "caffe.ShuffleChannel"),
    kin_row("PassThrough", _pass_through, "caffe.Reorg"),
    kin_row(
        "Upsample",
        _upsample,
        "caffe.Upsample",
        notes="each element `stride_h` times down and `stride_w` times to the right, multiplied by `scale`",
    ),
    kin_row("SPP", _spp, "caffe.SPP"),
)
