"""Poolings."""

from __future__ import annotations

from dataclasses import replace

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


def _pooling_row() -> OpDef:
    """A mean of windows is quantized by default, a maximum only when asked, a mean of whole images never."""
    row = kin_row(
        "Pooling",
        _pooling,
        "caffe.Pooling",
        quantizable=Quantizable(on_by_default=True),
        notes=(
            "ceil_mode 0 rounds sizes up, 1 down; pad is [top, bottom, left, right]; a maximum is quantized only when "
            "asked, a mean of whole images never"
        ),
    )
    when_asked = replace(row, quantizable=Quantizable(on_by_default=False))
    never = replace(row, quantizable=None)

    def variant(node: Node) -> OpDef | None:
        if node.attrs.get("mode", 0) != _AVERAGE:
            return when_asked
        return never if node.attrs.get("global_pooling") else None

    return replace(row, variant=variant)


POOLING_OPS: tuple[OpDef, ...] = (_pooling_row(),)
