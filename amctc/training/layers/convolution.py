"""Convolution, DepthwiseConv, Deconvolution and InnerProduct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe import inner_product
from amctc.dialects.caffe.convolution import ConvGeometry, conv_geometry
from amctc.dialects.caffe.params import params
from amctc.dialects.op import OpError
from amctc.ir.node import Shape
from amctc.runtime.lowering.windows import folded_shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors

_Function = Callable[..., Tensor]
_CONVOLUTIONS: tuple[_Function, ...] = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED: tuple[_Function, ...] = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def convolution(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Correlation with the filters; several inputs share them."""
    return _windowed(layer, shapes, _CONVOLUTIONS)


def deconvolution(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The transpose of a convolution."""
    return _windowed(layer, shapes, _TRANSPOSED)


def _windowed(layer: Layer, shapes: tuple[Shape, ...], functions: tuple[_Function, ...]) -> Run:
    g = conv_geometry(layer.node, shapes[0])
    if len(g.kernel) > len(functions):
        raise OpError(f"is trained with {len(functions)} spatial axes at most, this one has {len(g.kernel)}")
    function, options = functions[len(g.kernel) - 1], _options(g)
    folded, lead = folded_shape(shapes[0], g.axis), shapes[0][: g.axis]
    weight = layer.weight_reader("weight")
    bias = layer.weight_reader("bias") if g.bias else lambda: None

    def one(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        if g.axis == 1:
            return function(x, w, b, **options)
        found = function(x.reshape(folded), w, b, **options)
        return found.reshape(*lead, *found.shape[1:])

    def run(inputs: Tensors) -> Tensors:
        w, b = weight(), bias()
        return tuple(one(x, w, b) for x in inputs)

    return run


def _options(g: ConvGeometry) -> dict[str, Any]:
    return {"stride": g.stride, "padding": g.pad, "dilation": g.dilation, "groups": g.group}


def fully_connected(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """A matrix product over the axes from `axis` on."""
    param = params(layer.node, inner_product.PARAMETER)
    axis, _, inner = inner_product.flat_sizes(layer.node, shapes[0])
    rows = (*shapes[0][:axis], inner)
    transposed = bool(param.transpose)
    weight = layer.weight_reader("weight")
    bias = layer.weight_reader("bias") if param.bias_term else lambda: None

    def run(inputs: Tensors) -> Tensors:
        w = weight()
        return (functional.linear(inputs[0].reshape(rows), w.t() if transposed else w, bias()),)

    return run


LINEAR_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Convolution": convolution,
        "caffe.DepthwiseConv": convolution,
        "caffe.Deconvolution": deconvolution,
        "caffe.InnerProduct": fully_connected,
    }
)
