"""Which nodes a file can hold, and which rule writes a node where that is another than the runtime's."""

from __future__ import annotations

from amctc.dialects.custom import CAFFE
from amctc.dialects.ge import GE
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.op import OpError
from amctc.dialects.table import is_foreign
from amctc.ir import Node
from amctc.runtime.lowering.builder import Rule
from amctc.runtime.lowering.rules import RULES

USUAL_HELP = "write it for another target, or leave the layer out of the model"
AS_LARGE_AS_THE_DATA = frozenset({"caffe.DetectionOutput", "caffe.SSDDetectionOutput", "caffe.Filter"})
"""Ops whose outputs are as large as the data say: ours write sizes that are known, so nothing may read these."""


def export_rule(node: Node) -> Rule | None:
    """The rule that writes a layer into a file where that is another than the runtime's; None where it is not."""
    if node.dialect != CAFFE:
        return None
    from amctc.targets.onnx.caffe_layers import caffe_rule  # what ONNX models never need

    return caffe_rule(node)


def refusal(node: Node) -> tuple[str, str] | None:
    """Why a node has no form in ONNX, and what to do; None where it has one."""
    if is_foreign(node):
        return "has no form in ONNX: only Python runs it, its own host op", USUAL_HELP
    if node.dialect == CAFFE:
        from amctc.targets.onnx.caffe_layers import caffe_refusal

        return caffe_refusal(node)
    reason = unsized_input(node) or _why_not(node)
    return None if reason is None else (reason, USUAL_HELP)


def unsized_input(node: Node) -> str | None:
    """That a node reads what is as large as its data say; None where it does not."""
    for value in node.inputs:
        if value.producer.op in AS_LARGE_AS_THE_DATA:
            return f"reads what `{value.producer.name}` gives, which is as large as its data say"
    return None


def _why_not(node: Node) -> str | None:
    if node.dialect == ONNX or node.op in RULES:
        return None
    return _why_not_as_kin(node) if node.dialect == GE else "has no form in ONNX"


def _why_not_as_kin(node: Node) -> str | None:
    """Why what a GE op is like has no form in ONNX; None where it has one."""
    from amctc.dialects.kin import NoKin, kin_of

    try:
        kin = kin_of(node).node
    except (NoKin, OpError) as reason:
        return str(reason)
    return None if kin.dialect == ONNX or kin.op in RULES else "has no form in ONNX"
