"""Functions of each element of one input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.unary import crelu_axis, exp_factors, log_factor
from amctc.dialects.op import OpError
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Rule, Run, Tensors

Function: TypeAlias = Callable[[Tensor], Tensor]


def each(make: Callable[[Node], Function]) -> Rule:
    """The rule of a layer of one input and one output, from what makes its function."""

    def rule(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
        function = make(layer.node)
        return lambda inputs: (function(inputs[0]),)

    return rule


def plain(function: Function) -> Rule:
    """The rule of a function without parameters."""
    return each(lambda node: function)


def _relu(node: Node) -> Function:
    slope = float(params(node, "relu_param").negative_slope)
    return torch.relu if slope == 0 else lambda x: functional.leaky_relu(x, slope)


def _elu(node: Node) -> Function:
    alpha = float(params(node, "elu_param").alpha)
    return lambda x: functional.elu(x, alpha)


def _swish(node: Node) -> Function:
    beta = float(params(node, "swish_param").beta)
    return functional.silu if beta == 1 else lambda x: x * torch.sigmoid(beta * x)


def _clip(node: Node) -> Function:
    param = params(node, "clip_param")
    least, most = float(param.min), float(param.max)
    # Where `min` is above `max` Caffe lets the lower bound win.
    return lambda x: x.clamp(max=most).clamp(min=least) if least > most else x.clamp(least, most)


def _power(node: Node) -> Function:
    """(shift + scale * x) ** power. Where Caffe's gradient divides 0 by 0 this is the derivative itself."""
    param = params(node, "power_param")
    power, scale, shift = float(param.power), float(param.scale), float(param.shift)

    def function(x: Tensor) -> Tensor:
        base = x if scale == 1 else x * scale
        base = base if shift == 0 else base + shift
        return base if power == 1 else base**power

    if power == 0 or scale == 0:  # no gradient reaches x, not even where it is infinite
        return lambda x: function(x.detach())
    return function


def _exp(node: Node) -> Function:
    inner, outer = exp_factors(node)
    return lambda x: torch.exp(x * inner) * outer


def _log(node: Node) -> Function:
    param = params(node, "log_param")
    factor, scale, shift = log_factor(node), float(param.scale), float(param.shift)
    return lambda x: torch.log(x * scale + shift) * factor


def _relu6(node: Node) -> Function:
    param = params(node, "relu6_param")
    slope, most = float(param.negative_slope), float(param.threshold)
    return lambda x: functional.leaky_relu(x, slope).clamp(max=most)


def _hard_sigmoid(node: Node) -> Function:
    param = params(node, "hardsigmoid_param")
    alpha, beta = float(param.alpha), float(param.beta)
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _hard_swish(node: Node) -> Function:
    param = params(node, "hswish_param")
    alpha, beta = float(param.alpha), float(param.beta)
    return lambda x: x * (alpha * x + beta).clamp(0, 1)


def crelu(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """relu(x) and relu(-x), one behind the other."""
    axis = crelu_axis(layer.node, len(shapes[0]))
    slope = float(params(layer.node, "crelu_param").negative_slope)
    return lambda inputs: (torch.cat([functional.leaky_relu(x, slope) for x in (inputs[0], -inputs[0])], axis),)


def axpy(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """a * x + y, one factor for each sample and channel."""
    spread = (*shapes[1][:2], *(1,) * (len(shapes[1]) - 2))
    return lambda inputs: (torch.addcmul(inputs[2], inputs[0].reshape(spread), inputs[1]),)


def prelu(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """x, or below and at 0 x times a learned slope: one for each channel or for all."""
    slope = layer.weight_reader("slope")
    return lambda inputs: (functional.prelu(inputs[0], slope().reshape(-1)),)


def dropout(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """In phase TRAIN each element is kept with the probability 1 - ratio and then divided by it; else nothing."""
    ratio = float(params(layer.node, "dropout_param").dropout_ratio)
    if layer.phase != "TRAIN":
        return lambda inputs: inputs
    if not 0 <= ratio < 1:
        raise OpError(f"`dropout_ratio` must be 0 or more and below 1, not {ratio:g}")
    kept = 1.0 - ratio

    def run(inputs: Tensors) -> Tensors:
        mask = torch.empty_like(inputs[0]).bernoulli_(kept, generator=layer.random)
        return (inputs[0] * mask.div_(kept),)

    return run


def threshold(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """1 where x is above the threshold, else 0: without a gradient."""
    bound = float(params(layer.node, "threshold_param").threshold)
    return lambda inputs: ((inputs[0] > bound).to(inputs[0].dtype),)


ELEMENTWISE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.ReLU": each(_relu),
        "caffe.PReLU": prelu,
        "caffe.ELU": each(_elu),
        "caffe.Sigmoid": plain(torch.sigmoid),
        "caffe.TanH": plain(torch.tanh),
        "caffe.AbsVal": plain(torch.abs),
        "caffe.BNLL": plain(functional.softplus),
        "caffe.Swish": each(_swish),
        "caffe.Clip": each(_clip),
        "caffe.Power": each(_power),
        "caffe.Exp": each(_exp),
        "caffe.Log": each(_log),
        "caffe.ReLU6": each(_relu6),
        "caffe.CReLU": crelu,
        "caffe.HardSigmoid": each(_hard_sigmoid),
        "caffe.Hswish": each(_hard_swish),
        "caffe.HardSwish": each(_hard_swish),
        "caffe.Mish": plain(functional.mish),
        "caffe.Sqrt": plain(torch.sqrt),
        "caffe.Sin": plain(torch.sin),
        "caffe.Cos": plain(torch.cos),
        "caffe.Erf": plain(torch.erf),
        "caffe.Axpy": axpy,
        "caffe.Dropout": dropout,
        "caffe.Threshold": threshold,
    }
)
