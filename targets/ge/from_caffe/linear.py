"""Convolutions and inner products."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.convolution import ConvGeometry, conv_geometry
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable, need_shape
from amctc.text.plain import Plain

_IMAGES = 2


def _geometry(node: Node) -> ConvGeometry:
    if len(node.inputs) != 1:
        raise Unsayable("has several bottoms, which share its weights: GE's op has one")
    g = conv_geometry(node, need_shape(node.inputs[0]))
    if g.axis != 1 or len(g.kernel) != _IMAGES:
        raise Unsayable("does not run over the two axes of images")
    return g


def _convolution(c: Crossing, node: Node) -> None:
    g = _geometry(node)
    attributes: dict[str, Plain] = {
        "strides": (1, 1, *g.stride),
        "dilations": (1, 1, *g.dilation),
        "pads": _pads(g),
        "groups": g.group,
        "data_format": "NCHW",
        "offset_x": 0,
    }
    c.map(node, "Conv2D", _operands(c, node), attributes)


def _deconvolution(c: Crossing, node: Node) -> None:
    g = _geometry(node)
    attributes: dict[str, Plain] = {
        "strides": g.stride,
        "dilations": (1, 1, *g.dilation),
        "pads": _pads(g),
        "groups": g.group,
        "data_format": "NCHW",
        "offset_x": 0,
    }
    c.map(node, "Deconvolution", _operands(c, node), attributes)


def _inner_product(c: Crossing, node: Node) -> None:
    param = params(node, "inner_product_param")
    attributes: dict[str, Plain] = {
        "num_output": int(param.num_output),
        "transpose": bool(param.transpose),
        "axis": int(param.axis),
        "offset_x": 0,
    }
    c.map(node, "FullyConnection", _operands(c, node), attributes)


def _operands(c: Crossing, node: Node) -> list[Operand]:
    return [c.inputs(node)[0], node.weights.get("weight"), node.weights.get("bias")]


def _pads(g: ConvGeometry) -> tuple[int, ...]:
    return (g.pad[0], g.pad[0], g.pad[1], g.pad[1])


LINEAR: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Convolution": _convolution,
        "caffe.DepthwiseConv": _convolution,
        "caffe.Deconvolution": _deconvolution,
        "caffe.InnerProduct": _inner_product,
    }
)
