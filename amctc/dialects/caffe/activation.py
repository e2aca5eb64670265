"""The activations every net has: ReLU, PReLU, Sigmoid, TanH, AbsVal, Power; and what a row of such a layer is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.become import become_scale
from amctc.dialects.caffe.blobs import Infer, describe, same_shape
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Affine, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape


def always(node: Node) -> bool:
    """True of every node, whatever it says."""
    return True


def elementwise(
    type: str,
    summary: str,
    on: bool | None,
    parameter: str | None = None,
    infer: Infer = same_shape,
    activation: bool = True,
    notes: str = "",
    homogeneous: bool = False,
    clamps: Callable[[Node], tuple[float, float] | None] = lambda node: None,
) -> OpDef:
    """The row of a function of each element of one blob.

    `on` says whether its input is quantized by default; None is for a layer that is never quantized.
    An `infer` of its own is for parameters that have to be checked.
    """
    return OpDef(
        name=f"caffe.{type}",
        summary=summary,
        inputs=ONE,
        outputs=ONE,
        infer=infer,
        parameter=parameter,
        quantizable=None if on is None else Quantizable(on_by_default=on),
        activation=activation,
        homogeneous=always if homogeneous else None,
        clamps=clamps,
        notes=notes,
    )


def _infer_prelu(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if len(shapes[0]) < 2:
        raise OpError(f"takes a blob of two axes or more, this one is {describe(shapes[0])}")
    return (shapes[0],)


def _slope_shape(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    return {"slope": () if params(node, "prelu_param").channel_shared else (shapes[0][1],)}


def _power_coefficients(node: Node, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    param = params(node, "power_param")
    if param.power != 1:
        return f"its `power` is {param.power:g}, not 1"
    return np.full(channels, param.scale, np.float64), np.full(channels, param.shift, np.float64)


def _relu_bounds(node: Node) -> tuple[float, float] | None:
    return (0.0, math.inf) if params(node, "relu_param").negative_slope == 0 else None


def _power_is_homogeneous(node: Node) -> bool:
    param = params(node, "power_param")
    return bool((param.power, param.shift) == (1, 0))


def _power_changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    param = params(node, "power_param")
    return bool((param.power, param.scale, param.shift) == (1, 1, 0))


ACTIVATION_OPS: tuple[OpDef, ...] = (
    elementwise(
        "ReLU",
        "y = max(x, 0) + negative_slope * min(x, 0)",
        on=False,
        parameter="relu_param",
        homogeneous=True,
        clamps=_relu_bounds,
    ),
    OpDef(
        name="caffe.PReLU",
        summary="y = max(x, 0) + slope * min(x, 0), one learned slope for each channel or for all",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_prelu,
        weight_shapes=_slope_shape,
        parameter="prelu_param",
        quantizable=Quantizable(on_by_default=False),
        activation=True,
        homogeneous=always,
        notes="slope [C], or a scalar if `channel_shared`",
    ),
    elementwise("Sigmoid", "y = 1 / (1 + exp(-x))", on=True, parameter="sigmoid_param"),
    elementwise("TanH", "y = tanh(x)", on=True, parameter="tanh_param"),
    elementwise("AbsVal", "y = |x|", on=False, homogeneous=True),
    replace(
        elementwise(
            "Power",
            "y = (shift + scale * x) ** power",
            on=True,
            parameter="power_param",
            notes="NaN where a negative base meets a fractional power, as in Caffe",
        ),
        affine=Affine(_power_coefficients, become_scale),
        homogeneous=_power_is_homogeneous,
        changes_nothing=_power_changes_nothing,
    ),
)
