"""Poolings."""

from __future__ import annotations

from amctc.dialects.ge.fields import flag, ints, whole
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, Quantizable
from amctc.ir import Node
from amctc.text.plain import Plain

_AVERAGE = 1


def _pooling(node: Node) -> Kin:
    top, bottom, left, right = ints(node, "pad", 4)
    if (top, left) != (bottom, right) or set(ints(node, "dilation")) != {1}:
        raise NoKin("cannot be run: paddings that differ, and dilations, are not supported")
    height, width = ints(node, "window", 2)
    step_h, step_w = ints(node, "stride", 2)
    param: dict[str, Plain] = {
        "pool": "AVE" if whole(node, "mode") == _AVERAGE else "MAX",
        "stride_h": step_h,
        "stride_w": step_w,
        "pad_h": top,
        "pad_w": left,
        # 0 rounds up here, too: these are the numbers of Caffe's `RoundMode`.
        "round_mode": "FLOOR" if whole(node, "ceil_mode") else "CEIL",
    }
    if flag(node, "global_pooling"):
        param["global_pooling"] = True
    else:
        param |= {"kernel_h": height, "kernel_w": width}
    return Kin("caffe.Pooling", {"pooling_param": param}, moved=data_format(node) == NHWC)


POOLING_OPS: tuple[OpDef, ...] = (
    kin_row(
        "Pooling",
        _pooling,
        "caffe.Pooling",
        quantizable=Quantizable(on_by_default=True),
        notes="ceil_mode 0 rounds sizes up, 1 down; pad is [top, bottom, left, right]",
    ),
)
