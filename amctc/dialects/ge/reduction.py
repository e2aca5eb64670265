"""Reduction and ArgMaxWithK."""

from __future__ import annotations

from amctc.dialects.ge.fields import flag, number, whole
from amctc.dialects.ge.filled import is_read
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef
from amctc.ir import Node
from amctc.text.plain import Plain

NO_AXIS = 10000
"""The `axis` of an ArgMaxWithK that looks at each item as a whole."""
PLACES, VALUES = 0, 1
"""The outputs of an ArgMaxWithK."""


def _reduction(node: Node) -> Kin:
    param: dict[str, Plain] = {
        "operation": whole(node, "operation"),
        "axis": whole(node, "axis"),
        "coeff": number(node, "coeff"),
    }
    return Kin("caffe.Reduction", {"reduction_param": param})


def _arg_max(node: Node) -> Kin:
    """Caffe's ArgMax gives the places or the values along an axis: that of the two which is read."""
    values = len(node.outputs) > 1 and is_read(node, VALUES)
    if values and is_read(node, PLACES):
        raise NoKin("cannot be run: its places and its values are both read")
    axis = whole(node, "axis")
    if values and (axis == NO_AXIS or not flag(node, "out_max_val")):
        raise NoKin("cannot be run: it gives values only with `out_max_val` and an `axis`")
    param: dict[str, Plain] = {"top_k": whole(node, "topk"), "out_max_val": values}
    if axis != NO_AXIS:
        param["axis"] = axis
    other = PLACES if values else VALUES
    has_other = len(node.outputs) > 1
    return Kin(
        "caffe.ArgMax",
        {"argmax_param": param},
        outputs=(VALUES if values else PLACES,),
        unread=lambda shapes: {other: shapes[0]} if has_other else {},
    )


REDUCTION_OPS: tuple[OpDef, ...] = (
    kin_row("Reduction", _reduction, "caffe.Reduction", notes="sum 1, of magnitudes 2, of squares 3, mean 4"),
    kin_row(
        "ArgMaxWithK",
        _arg_max,
        "caffe.ArgMax",
        notes=f"outputs: places, values; one of them may be read; axis {NO_AXIS}: each item as a whole",
    ),
)
