"""Eltwise, Concat, Slice."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.combine import concat_axis
from amctc.dialects.caffe.movement import slice_sizes
from amctc.dialects.caffe.params import params
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.text.plain import Plain


def _eltwise(c: Crossing, node: Node) -> None:
    if op_def(node).in_place_differs(node):
        raise Unsayable("works in place, where Caffe loses an input; give the layer a top of its own")
    param, inputs = params(node, "eltwise_param"), c.inputs(node)
    attributes: dict[str, Plain] = {
        "N": len(inputs),
        "mode": int(param.operation),
        "coeff": tuple(float(factor) for factor in param.coeff),
    }
    c.map(node, "Eltwise", inputs, attributes)


def _concat(c: Crossing, node: Node) -> None:
    inputs = c.inputs(node)
    axis = concat_axis(node, len(need_shape(node.inputs[0])))
    c.map(node, "ConcatD", inputs, {"concat_dim": axis, "N": len(inputs)})


def _slice(c: Crossing, node: Node) -> None:
    """The public plug-in leaves out the size of the last part, and all sizes without `slice_point`.

    GE's op needs one for each of its outputs, so all are written.
    """
    axis, sizes = slice_sizes(node, need_shape(node.inputs[0]))
    attributes: dict[str, Plain] = {"size_splits": sizes, "split_dim": axis, "num_split": len(sizes)}
    made = c.op(node, "SplitVD", c.inputs(node), attributes, outputs=len(sizes))
    c.finish(node, *made.outputs)


COMBINE: Mapping[str, Rule] = MappingProxyType(
    {"caffe.Eltwise": _eltwise, "caffe.Concat": _concat, "caffe.Slice": _slice}
)
