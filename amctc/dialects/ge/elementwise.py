"""Functions of single elements that ONNX has too."""

from __future__ import annotations

from dataclasses import replace

from amctc.dialects.ge.become import become_relu
from amctc.dialects.ge.fields import element_type, ints, number
from amctc.dialects.ge.onnx_form import given, onnx_kin, onnx_row
from amctc.dialects.ge.rows import kin_row, op_row
from amctc.dialects.kin import Kin, NoKin, kin_of
from amctc.dialects.onnx.element_types import ONNX_TYPES
from amctc.dialects.op import Bounded, OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Shape

_FAST_GELU = "com.microsoft.FastGelu"
_SAME = (
    "Sqrt",
    "Neg",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Reciprocal",
    "Cos",
    "Sin",
    "Erf",
    "Softplus",
    "Softsign",
    "Selu",
    "Identity",
)
"""Ops that are called as ONNX's are, and compute the same."""


def _inverse_root(node: Node) -> Kin:
    return Kin("caffe.Power", {"power_param": {"power": -0.5}})


def _square(node: Node) -> Kin:
    return Kin("onnx.Mul", inputs=(0, 0))


def _hard_sigmoid(node: Node) -> Kin:
    return Kin("onnx.HardSigmoid", {"alpha": number(node, "alpha"), "beta": number(node, "beta")})


def _clip(node: Node) -> Kin:
    """Bounds of GE may have one element and an axis; those of ONNX have none."""
    x, *bounds = given(node)
    found = [each if each is None or isinstance(each, int) else each.reshape(()) for each in bounds if _single(each)]
    if len(found) != len(bounds):
        raise NoKin("cannot be run: its bounds are no single numbers")
    return onnx_kin("Clip", [x, *found])


def _bound(node: Node) -> float | str:
    """The upper bound, where the lower one is 0."""
    try:
        bounds = kin_of(node).node
    except (NoKin, OpError) as reason:
        return str(reason)
    found = op_row(bounds).clamps(bounds)
    if found is None:
        return "its bounds are not constant"
    return found[1] if found[0] == 0 else f"it begins at {found[0]:g}, not at 0"


def _single(bound: object) -> bool:
    return bound is None or isinstance(bound, int) or getattr(bound, "size", 0) == 1


def _log_softmax(node: Node) -> Kin:
    axes = ints(node, "axes")
    if len(axes) != 1:
        raise NoKin("cannot be run: a softmax over several axes is not supported")
    return Kin("onnx.LogSoftmax", {"axis": axes[0]})


def _cast(node: Node) -> Kin:
    return onnx_kin("Cast", given(node)[:1], {"to": ONNX_TYPES[element_type(node, "dst_type")]})


def _gelu_row() -> OpDef:
    """The approximation by tanh. ONNX says nothing of the shapes of an op of another domain."""
    row = onnx_row("Gelu", _FAST_GELU, notes="by tanh: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))")
    return replace(row, infer=_same_shape, dtypes=lambda node: tuple(value.dtype for value in node.inputs[:1]))


def _same_shape(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return shapes[:1]


ELEMENTWISE_OPS: tuple[OpDef, ...] = (
    *(onnx_row(type, type) for type in _SAME),
    onnx_row("Rint", "Round"),
    onnx_row("LogicalNot", "Not"),
    kin_row("Rsqrt", _inverse_root, "caffe.Power"),
    onnx_row("Square", "Mul", _square),
    onnx_row("HardSigmoid", "HardSigmoid", _hard_sigmoid),
    replace(
        onnx_row("ClipByValue", "Clip", _clip, notes="between `clip_value_min` and `clip_value_max`"),
        bounded=Bounded(_bound, become_relu),
    ),
    onnx_row("LogSoftmaxV2", "LogSoftmax", _log_softmax),
    _gelu_row(),
    onnx_row("Cast", "Cast", _cast, notes="dst_type is a number of C++'s ge::DataType"),
)
