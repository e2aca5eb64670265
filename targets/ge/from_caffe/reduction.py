"""Reduction, ArgMax, and products of two blobs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.matrix import transposed_factors
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.reduction import arg_places
from amctc.dialects.ge.reduction import NO_AXIS, PLACES, VALUES
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.text.plain import Plain


def _reduction(c: Crossing, node: Node) -> None:
    param = params(node, "reduction_param")
    attributes: dict[str, Plain] = {
        "operation": int(param.operation),
        "axis": int(param.axis),
        "coeff": float(param.coeff),
    }
    c.map(node, "Reduction", c.inputs(node), attributes)


def _arg_max(c: Crossing, node: Node) -> None:
    """Of GE's two outputs the layer's top is the places or, with `out_max_val`, the values."""
    found = arg_places(node, need_shape(node.inputs[0]))
    if found.values and found.axis is None:
        raise Unsayable("gives places and values in one blob, and GE's ArgMaxWithK in two; give it an `axis`")
    attributes: dict[str, Plain] = {
        "axis": NO_AXIS if found.axis is None else found.axis,
        "out_max_val": found.values,
        "topk": found.top_k,
    }
    made = c.op(node, "ArgMaxWithK", c.inputs(node), attributes, outputs=2)
    c.finish(node, made.outputs[VALUES if found.values else PLACES])


def _product(c: Crossing, node: Node) -> None:
    """The parser knows BatchedMatMul; MatMul is the same layer under another name."""
    first, second = transposed_factors(node)
    c.map(node, "BatchMatMul", c.inputs(node), {"adj_x1": first, "adj_x2": second})


REDUCTION: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Reduction": _reduction,
        "caffe.ArgMax": _arg_max,
        "caffe.BatchedMatMul": _product,
        "caffe.MatMul": _product,
    }
)
