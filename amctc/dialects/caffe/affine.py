"""Scale and Bias: one factor and one summand for each slice along some axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.become import become_scale
from amctc.dialects.caffe.blobs import axis_of, describe
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Affine, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

Coefficients: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]] | str"

_OFF = Quantizable(on_by_default=False)
_ONE_OR_TWO = Arity(1, 2)


def broadcast_axis(node: Node, field: str, shape: Shape, factor: Shape | None) -> tuple[int, Shape]:
    """(axis, shape of the factor): which axes of `shape` the factor of a Scale or Bias runs along.

    `factor` is the shape of the second bottom where there is one; without it the layer's own blob
    covers `num_axes` axes from `axis` on (-1: all that follow, 0: it is one number).
    """
    param = params(node, field)
    rank = len(shape)
    if factor is not None:
        axis = 0 if not factor else axis_of(param.axis, rank)
        if axis + len(factor) > rank or shape[axis : axis + len(factor)] != factor:
            raise OpError(f"the second input {describe(factor)} does not fit {describe(shape)} from axis {axis} on")
        return axis, factor
    if param.num_axes < -1:
        raise OpError(f"`num_axes` must be -1 or more, not {param.num_axes}")
    if param.num_axes == 0:
        return 0, ()
    axis = axis_of(param.axis, rank)
    end = rank if param.num_axes == -1 else axis + param.num_axes
    if end > rank:
        raise OpError(f"`num_axes` {param.num_axes} from axis {axis} on is more than the {rank} axes of the blob")
    return axis, shape[axis:end]


def _second(shapes: tuple[Shape, ...]) -> Shape | None:
    return shapes[1] if len(shapes) > 1 else None


def _infer_scale(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    broadcast_axis(node, "scale_param", shapes[0], _second(shapes))
    return (shapes[0],)


def _scale_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    _, factor = broadcast_axis(node, "scale_param", shapes[0], _second(shapes))
    wanted: dict[str, Shape] = {} if len(shapes) > 1 else {"scale": factor}
    if params(node, "scale_param").bias_term:
        wanted["bias"] = factor
    return wanted


def _infer_bias(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    broadcast_axis(node, "bias_param", shapes[0], _second(shapes))
    return (shapes[0],)


def _bias_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    _, factor = broadcast_axis(node, "bias_param", shapes[0], _second(shapes))
    return {} if len(shapes) > 1 else {"bias": factor}


def _scale_coefficients(node: Node, channels: int) -> Coefficients:
    refusal = _not_by_channel(node, "scale_param")
    if refusal is not None:
        return refusal
    scale = node.weights.get("scale")
    if scale is None:
        return "it has no weights"
    if scale.size != channels:
        return f"it has {scale.size} channels, not {channels}"
    bias = node.weights.get("bias")
    shift = np.zeros(channels) if bias is None else bias.astype(np.float64).reshape(-1)
    return scale.astype(np.float64).reshape(-1), shift


def _bias_coefficients(node: Node, channels: int) -> Coefficients:
    refusal = _not_by_channel(node, "bias_param")
    if refusal is not None:
        return refusal
    bias = node.weights.get("bias")
    if bias is None:
        return "it has no weights"
    if bias.size != channels:
        return f"it has {bias.size} channels, not {channels}"
    return np.ones(channels), bias.astype(np.float64).reshape(-1)


def _not_by_channel(node: Node, field: str) -> str | None:
    """Why a Scale or Bias is not one number a channel of axis 1, or None if it is."""
    param, shape = params(node, field), node.inputs[0].shape
    if len(node.inputs) > 1:
        return "its second input is computed by another layer"
    # Without shapes only `axis: 1` is certain; a negative axis depends on the number of axes.
    axis = param.axis if shape is None or param.axis >= 0 else param.axis + len(shape)
    if axis != 1:
        return f"it works along axis {param.axis}, not along the channels"
    covered = param.num_axes if param.num_axes != -1 or shape is None else len(shape) - 1
    if covered != 1:
        return f"`num_axes` {param.num_axes} is not one number for each channel"
    if shape is not None and len(shape) < 2:
        return f"its input {describe(shape)} has no channels"
    return None


def _scale_changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    """Whether the layer's own blobs are all ones and all zeros, along whatever axes."""
    wanted = _scale_weights(node, shapes).keys()
    ones, zeros = node.weights.get("scale"), node.weights.get("bias")
    if ones is None or not (ones == 1).all() or "scale" not in wanted:
        return False
    return "bias" not in wanted or (zeros is not None and not zeros.any())


def _bias_changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    zeros = node.weights.get("bias")
    return len(shapes) == 1 and zeros is not None and not zeros.any()


AFFINE_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Scale",
        summary="y = x * scale (+ bias), broadcast along some axes; the scale may be a second input",
        inputs=_ONE_OR_TWO,
        outputs=ONE,
        infer=_infer_scale,
        weight_shapes=_scale_weights,
        parameter="scale_param",
        quantizable=_OFF,
        affine=Affine(_scale_coefficients, become_scale),
        changes_nothing=_scale_changes_nothing,
        notes="affine only along axis 1, with one number a channel in a blob of its own",
    ),
    OpDef(
        name="caffe.Bias",
        summary="y = x + bias, broadcast along some axes; the bias may be a second input",
        inputs=_ONE_OR_TWO,
        outputs=ONE,
        infer=_infer_bias,
        weight_shapes=_bias_weights,
        parameter="bias_param",
        quantizable=_OFF,
        affine=Affine(_bias_coefficients, become_scale),
        changes_nothing=_bias_changes_nothing,
        notes="affine only along axis 1, with one number a channel in a blob of its own",
    ),
)
