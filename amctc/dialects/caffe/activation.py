"""Functions of each element: ReLU, PReLU, Sigmoid, TanH, AbsVal, Power."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.caffe.blobs import describe, same_shape
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.graph import Shape

_ON = Quantizable(on_by_default=True)
_OFF = Quantizable(on_by_default=False)


def _infer_prelu(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if len(shapes[0]) < 2:
        raise OpError(f"takes a blob of two axes or more, this one is {describe(shapes[0])}")
    return (shapes[0],)


def _slope_shape(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    return {"slope": () if params(node, "prelu_param").channel_shared else (shapes[0][1],)}


ACTIVATION_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.ReLU",
        summary="y = max(x, 0) + negative_slope * min(x, 0)",
        inputs=ONE,
        outputs=ONE,
        infer=same_shape,
        parameter="relu_param",
        quantizable=_OFF,
        activation=True,
    ),
    OpDef(
        name="caffe.PReLU",
        summary="y = max(x, 0) + slope * min(x, 0), one learned slope for each channel or for all",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_prelu,
        weight_shapes=_slope_shape,
        parameter="prelu_param",
        quantizable=_OFF,
        activation=True,
        notes="slope [C], or a scalar if `channel_shared`",
    ),
    OpDef(
        name="caffe.Sigmoid",
        summary="y = 1 / (1 + exp(-x))",
        inputs=ONE,
        outputs=ONE,
        infer=same_shape,
        parameter="sigmoid_param",
        quantizable=_ON,
        activation=True,
    ),
    OpDef(
        name="caffe.TanH",
        summary="y = tanh(x)",
        inputs=ONE,
        outputs=ONE,
        infer=same_shape,
        parameter="tanh_param",
        quantizable=_ON,
        activation=True,
    ),
    OpDef(
        name="caffe.AbsVal",
        summary="y = |x|",
        inputs=ONE,
        outputs=ONE,
        infer=same_shape,
        quantizable=_OFF,
        activation=True,
    ),
    OpDef(
        name="caffe.Power",
        summary="y = (shift + scale * x) ** power",
        inputs=ONE,
        outputs=ONE,
        infer=same_shape,
        parameter="power_param",
        quantizable=_ON,
        activation=True,
        notes="NaN where a negative base meets a fractional power, as in Caffe",
    ),
)
