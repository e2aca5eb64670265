"""Convolution, DepthwiseConv and Deconvolution in float32."""

from __future__ import annotations

from amctc.dialects.caffe.convolution import conv_geometry
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering
from amctc.runtime.lowering.integer import convolve_integers, reads_integers
from amctc.runtime.lowering.windows import conv_attributes, folded_shape


def lower_convolution(low: Lowering, node: Node) -> None:
    """Conv; behind a Quantize, ConvInteger."""
    if reads_integers(low, node):
        geometry = conv_geometry(node, low.shape(node.inputs[0]))
        convolve_integers(low, node, conv_attributes(geometry), geometry.axis)
        return
    _lower(low, node, "Conv")


def lower_deconvolution(low: Lowering, node: Node) -> None:
    """ConvTranspose, whose weights are laid out as Caffe's."""
    _lower(low, node, "ConvTranspose")


def _lower(low: Lowering, node: Node, op_type: str) -> None:
    geometry = conv_geometry(node, low.shape(node.inputs[0]))
    operands = low.linear_operands(low, node)
    attrs = conv_attributes(geometry)
    for source, target in zip(node.inputs, node.outputs, strict=True):
        if geometry.axis == 1:
            low.emit(op_type, [low.name(source), *operands], low.name(target), **attrs)
            continue
        folded = low.reshape(low.name(source), folded_shape(low.shape(source), geometry.axis))
        result = low.emit(op_type, [folded, *operands], **attrs)
        low.reshape(result, low.shape(target), low.name(target))
