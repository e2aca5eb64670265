"""Several values to one, and one to several: Eltwise, ConcatD, SplitVD, Copy."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from amctc.dialects.ge.fields import floats, ints, whole
from amctc.dialects.ge.onnx_form import given, moving, onnx_kin
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.text.plain import Plain

SUM = 1


def _need_all(node: Node) -> None:
    """Raise `NoKin` where a constant stands among the values."""
    if node.weights:
        raise NoKin("cannot be run: one of its inputs is constant")


def _eltwise(node: Node) -> Kin:
    _need_all(node)
    param: dict[str, Plain] = {"operation": whole(node, "mode")}
    coefficients = floats(node, "coeff")
    if coefficients:
        param["coeff"] = coefficients
    return Kin("caffe.Eltwise", {"eltwise_param": param})


def _concat(node: Node) -> Kin:
    """Caffe's Concat; ONNX's takes constants among the values."""
    if node.weights:
        return onnx_kin("Concat", given(node), {"axis": whole(node, "concat_dim")})
    return Kin("caffe.Concat", {"concat_param": {"axis": whole(node, "concat_dim")}})


def _split(node: Node) -> Kin:
    """Caffe's Slice, which knows where the parts end; the last size may be left out, or -1: what remains."""
    axis, sizes, count = whole(node, "split_dim"), ints(node, "size_splits"), len(node.outputs)
    if sizes and len(sizes) not in (count, count - 1):
        raise OpError(f"has {count} outputs and {len(sizes)} `size_splits`")
    shape = node.inputs[0].shape if node.inputs else None
    if shape is not None and len(sizes) == count and sizes[-1] != -1:
        if not -len(shape) <= axis < len(shape):
            raise OpError(f"`split_dim` {axis} is outside data of {len(shape)} axes")
        if sum(sizes) != shape[axis]:
            raise OpError(f"`size_splits` are {sum(sizes)} in all, and axis {axis} is {shape[axis]} long")
    param: dict[str, Plain] = {"axis": axis}
    if sizes:
        param["slice_point"] = tuple(accumulate(sizes[: count - 1]))
    return Kin("caffe.Slice", {"slice_param": param}, outputs=tuple(range(count)))


def _copy(node: Node) -> Kin:
    return Kin("caffe.Split", outputs=tuple(range(len(node.outputs))))


def _eltwise_row() -> OpDef:
    """Only a sum may be quantized, and only when asked."""
    row = kin_row(
        "Eltwise",
        _eltwise,
        "caffe.Eltwise",
        quantizable=Quantizable(on_by_default=False),
        notes="mode: 0 product, 1 sum, 2 maximum; only a sum may be quantized",
    )
    plain = replace(row, quantizable=None)
    return replace(row, variant=lambda node: None if node.attrs.get("mode", SUM) == SUM else plain)


COMBINE_OPS: tuple[OpDef, ...] = (
    _eltwise_row(),
    moving(kin_row("ConcatD", _concat, "caffe.Concat"), None),
    kin_row("SplitVD", _split, "caffe.Slice", notes="`size_splits`: the size of each output along `split_dim`"),
    kin_row("Copy", _copy, "caffe.Split"),
)
