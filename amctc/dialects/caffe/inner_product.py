"""InnerProduct: the fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.caffe.params import params, with_params
from amctc.dialects.op import ONE, Linear, LinearChannels, OpDef, OpError, Quantizable
from amctc.dialects.sums import sums_dtype
from amctc.ir import Node
from amctc.ir.node import Shape

PARAMETER = "inner_product_param"


def flat_sizes(node: Node, shape: Shape) -> tuple[int, int, int]:
    """(axis, M, K): the input is taken as an [M, K] matrix, M the axes before `axis`, K the rest."""
    axis = axis_of(params(node, PARAMETER).axis, len(shape))
    return axis, math.prod(shape[:axis]), math.prod(shape[axis:])


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    outputs = int(params(node, PARAMETER).num_output)
    if outputs < 1:
        raise OpError("`num_output` must be given and positive")
    axis, _, _ = flat_sizes(node, shapes[0])
    return ((*shapes[0][:axis], outputs),)


def _weight_shapes(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    param = params(node, PARAMETER)
    _, _, inner = flat_sizes(node, shapes[0])
    outputs = int(param.num_output)
    weight = (inner, outputs) if param.transpose else (outputs, inner)
    return {"weight": weight, "bias": (outputs,)} if param.bias_term else {"weight": weight}


def _out_channels(node: Node) -> int:
    return int(params(node, PARAMETER).num_output)


def _channel_axis(node: Node, shape: Shape) -> int:
    return len(shape) - 1


def _rows(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight.T if params(node, PARAMETER).transpose else weight


def _from_rows(node: Node, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(rows.T) if params(node, PARAMETER).transpose else rows


def _split(node: Node, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return _rows(node, weight)[np.newaxis, :, :, np.newaxis]


def _join(node: Node, parts: NDArray[np.generic]) -> NDArray[np.generic]:
    return _from_rows(node, parts[0, :, :, 0])


def _input_axis(node: Node, shape: Shape) -> int:
    return flat_sizes(node, shape)[0]


def _enable_bias(node: Node) -> None:
    with_params(node, PARAMETER, bias_term=True)


INNER_PRODUCT_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.InnerProduct",
        summary="a matrix product over the axes from `axis` on",
        inputs=ONE,
        outputs=ONE,
        infer=_infer,
        weight_shapes=_weight_shapes,
        parameter=PARAMETER,
        quantizable=Quantizable(on_by_default=True, weights=True),
        linear=Linear(
            "weight",
            "bias",
            _out_channels,
            _channel_axis,
            _rows,
            _from_rows,
            _enable_bias,
            channels=LinearChannels(_split, _join, _input_axis),
        ),
        dtypes=sums_dtype,
        notes="weight [N, K], with `transpose` [K, N]; the output has the axes before `axis` and N",
    ),
)
