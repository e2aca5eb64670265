"""Functions of single elements."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule


def _relu(c: Crossing, node: Node) -> None:
    slope = float(params(node, "relu_param").negative_slope)
    c.map(node, "LeakyRelu", c.inputs(node), {"negative_slope": slope})


def _softmax(c: Crossing, node: Node) -> None:
    c.map(node, "SoftmaxV2", c.inputs(node), {"axes": (int(params(node, "softmax_param").axis),)})


ELEMENTWISE: Mapping[str, Rule] = MappingProxyType({"caffe.ReLU": _relu, "caffe.Softmax": _softmax})
