"""Which rule lowers which op."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.on_demand import TableOnDemand
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.onnx_nodes import lower_as_it_is

RULES: Mapping[str, Rule] = TableOnDemand(
    {
        "caffe": "amctc.runtime.lowering.caffe_rules:CAFFE_RULES",
        "onnx": "amctc.runtime.lowering.onnx_nodes:ONNX_RULES",
        "ge": "amctc.runtime.lowering.sources:GE_RULES",
        "quant": "amctc.runtime.lowering.quantization:QUANT_RULES",
    }
)
"""Every op that ONNX can say. A node that a host op takes over is not lowered."""


def rule_of(node: Node) -> Rule:
    """The rule for a node: that of its op, for an ONNX op without one its own form. KeyError where there is none.

    A node that is like another dialect's layer is written by the rule of this.
    """
    if node.dialect == ONNX and node.op not in RULES:
        return lower_as_it_is
    if node.op not in RULES and op_def(node).likeness is not None:
        return _lower_as_kin
    return RULES[node.op]


def _lower_as_kin(low: Lowering, node: Node) -> None:
    from amctc.runtime.lowering.kin import lower_kin, relation_of  # most dialects have no such nodes

    relation = relation_of(node, [low.shapes.get(value) for value in node.inputs])
    lower_kin(low, node, rule_of(relation.node), relation)
