"""Functions of each element beyond the common activations: ELU, Exp, Log, Swish, Cos, Equal, Axpy and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.unary import crelu_axis, exp_factors, log_factor, rrelu_slope
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule


def _plain(op_type: str) -> Rule:
    """The rule of an op that ONNX has just so."""

    def rule(low: Lowering, node: Node) -> None:
        low.emit(op_type, low.inputs(node), low.name(node.output))

    return rule


def _chain(low: Lowering, node: Node, steps: Sequence[tuple[str, float | None]]) -> None:
    """ONNX ops one behind the other from the node's input to its output; a number is an op's second input."""
    current = low.name(node.inputs[0])
    for op_type, operand in steps:
        more = [] if operand is None else [low.scalar(operand, f"{node.name}.{op_type.lower()}")]
        current = low.emit(op_type, [current, *more])
    low.emit("Identity", [current], low.name(node.output))


def lower_elu(low: Lowering, node: Node) -> None:
    """Elu."""
    low.emit("Elu", low.inputs(node), low.name(node.output), alpha=float(params(node, "elu_param").alpha))


def lower_rrelu(low: Lowering, node: Node) -> None:
    """LeakyRelu with the slope of inference."""
    low.emit("LeakyRelu", low.inputs(node), low.name(node.output), alpha=rrelu_slope(node))


def lower_crelu(low: Lowering, node: Node) -> None:
    """Concat of the LeakyRelu of x and that of -x."""
    source = low.name(node.inputs[0])
    slope = float(params(node, "crelu_param").negative_slope)
    halves = [low.emit("LeakyRelu", [half], alpha=slope) for half in (source, low.emit("Neg", [source]))]
    low.emit("Concat", halves, low.name(node.output), axis=crelu_axis(node, len(low.shape(node.inputs[0]))))


def lower_relu6(low: Lowering, node: Node) -> None:
    """Clip; with a slope LeakyRelu and Min."""
    param = params(node, "relu6_param")
    slope, threshold = float(param.negative_slope), float(param.threshold)
    if slope == 0 and threshold >= 0:
        _emit_clip(low, node, 0.0, threshold)
        return
    leaky = low.emit("LeakyRelu", low.inputs(node), alpha=slope)
    low.emit("Min", [leaky, low.scalar(threshold, f"{node.name}.threshold")], low.name(node.output))


def lower_clip(low: Lowering, node: Node) -> None:
    """Clip; where `min` is above `max`, Min and Max, of which Caffe lets the lower bound win."""
    param = params(node, "clip_param")
    least, most = float(param.min), float(param.max)
    if least <= most:
        _emit_clip(low, node, least, most)
    else:
        _chain(low, node, [("Min", most), ("Max", least)])


def _emit_clip(low: Lowering, node: Node, least: float, most: float) -> None:
    bounds = [low.scalar(least, f"{node.name}.min"), low.scalar(most, f"{node.name}.max")]
    low.emit("Clip", [*low.inputs(node), *bounds], low.name(node.output))


def lower_swish(low: Lowering, node: Node) -> None:
    """x times the Sigmoid of beta * x."""
    source, beta = low.name(node.inputs[0]), float(params(node, "swish_param").beta)
    scaled = source if beta == 1 else low.emit("Mul", [source, low.scalar(beta, f"{node.name}.beta")])
    low.emit("Mul", [source, low.emit("Sigmoid", [scaled])], low.name(node.output))


def lower_hswish(low: Lowering, node: Node) -> None:
    """x times its HardSigmoid."""
    source, param = low.name(node.inputs[0]), params(node, "hswish_param")
    gate = low.emit("HardSigmoid", [source], alpha=float(param.alpha), beta=float(param.beta))
    low.emit("Mul", [source, gate], low.name(node.output))


def lower_hard_sigmoid(low: Lowering, node: Node) -> None:
    """HardSigmoid."""
    param = params(node, "hardsigmoid_param")
    alpha, beta = float(param.alpha), float(param.beta)
    low.emit("HardSigmoid", low.inputs(node), low.name(node.output), alpha=alpha, beta=beta)


def lower_mish(low: Lowering, node: Node) -> None:
    """x times the Tanh of its Softplus."""
    source = low.name(node.inputs[0])
    gate = low.emit("Tanh", [low.emit("Softplus", [source])])
    low.emit("Mul", [source, gate], low.name(node.output))


def lower_threshold(low: Lowering, node: Node) -> None:
    """Greater as 1.0 and 0.0."""
    _compare(low, node, "Greater", float(params(node, "threshold_param").threshold))


def lower_equal(low: Lowering, node: Node) -> None:
    """Equal as 1.0 and 0.0."""
    _compare(low, node, "Equal", float(params(node, "equal_param").value))


def lower_greater(low: Lowering, node: Node) -> None:
    """Greater as 1.0 and 0.0."""
    _compare(low, node, "Greater", float(params(node, "greater_param").value))


def _compare(low: Lowering, node: Node, op_type: str, value: float) -> None:
    """The first input against the second, or against `value` where there is none."""
    operands = list(low.inputs(node))
    if len(operands) == 1:
        operands.append(low.scalar(value, f"{node.name}.value"))
    low.emit("Cast", [low.emit(op_type, operands)], low.name(node.output), to=ONNX_TYPES["float32"])


def lower_exp(low: Lowering, node: Node) -> None:
    """Exp between a factor scale * log(base) and a factor base ** shift, both in float32 as in Caffe."""
    inner, outer = exp_factors(node)
    _chain(low, node, [("Mul", inner)] * (inner != 1) + [("Exp", None)] + [("Mul", outer)] * (outer != 1))


def lower_log(low: Lowering, node: Node) -> None:
    """Log of shift + scale * x, and a factor 1 / log(base) in float32 as in Caffe."""
    param = params(node, "log_param")
    scale, shift, factor = float(param.scale), float(param.shift), log_factor(node)
    before = [("Mul", scale)] * (scale != 1) + [("Add", shift)] * (shift != 0)
    _chain(low, node, [*before, ("Log", None)] + [("Mul", factor)] * (factor != 1))


def lower_axpy(low: Lowering, node: Node) -> None:
    """Mul and Add, the factors spread over the axes behind the channels."""
    a, x, y = low.inputs(node)
    shape, rank = low.shape(node.inputs[0]), len(low.shape(node.inputs[1]))
    if len(shape) != rank:
        a = low.reshape(a, (*shape[:2], *(1,) * (rank - 2)))
    low.emit("Add", [low.emit("Mul", [a, x]), y], low.name(node.output))


UNARY_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.BNLL": _plain("Softplus"),
        "caffe.CReLU": lower_crelu,
        "caffe.ELU": lower_elu,
        "caffe.RReLU": lower_rrelu,
        "caffe.ReLU6": lower_relu6,
        "caffe.Clip": lower_clip,
        "caffe.Swish": lower_swish,
        "caffe.Hswish": lower_hswish,
        "caffe.HardSwish": lower_hswish,
        "caffe.HardSigmoid": lower_hard_sigmoid,
        "caffe.Mish": lower_mish,
        "caffe.Threshold": lower_threshold,
        "caffe.Exp": lower_exp,
        "caffe.Log": lower_log,
        "caffe.Sqrt": _plain("Sqrt"),
        "caffe.Ceil": _plain("Ceil"),
        "caffe.Sign": _plain("Sign"),
        "caffe.Cos": _plain("Cos"),
        "caffe.Sin": _plain("Sin"),
        "caffe.Erf": _plain("Erf"),
        "caffe.Equal": lower_equal,
        "caffe.Greater": lower_greater,
        "caffe.Axpy": lower_axpy,
    }
)
"""The rules of `UNARY_OPS`."""
