"""Ops over several blobs or over an axis: Eltwise, Concat, Split, Softmax, LRN."""

from __future__ import annotations

from amctc.dialects.caffe.activation import always
from amctc.dialects.caffe.blobs import (
    axis_of,
    describe,
    differ_only_along,
    need_equal,
    need_rank,
    same_dtype,
    same_shape,
)
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

PROD, SUM, MAX = 0, 1, 2

_ON = Quantizable(on_by_default=True)


def _infer_eltwise(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_equal(shapes)
    param = params(node, "eltwise_param")
    count = len(param.coeff)
    if count and count != len(shapes):
        raise OpError(f"needs one `coeff` for each input: {len(shapes)} inputs, {count} given")
    if count and param.operation == PROD:
        raise OpError("`coeff` is for `operation: SUM` only")
    return (shapes[0],)


def _loses_an_input(node: Node) -> bool:
    """Caffe clears the top of SUM and MAX before it reads the input that shares the top's blob."""
    shared = any(value.blob == node.output.blob for value in node.inputs)
    return shared and params(node, "eltwise_param").operation != PROD


def concat_axis(node: Node, rank: int) -> int:
    """The axis a Concat joins along, from `axis` or the old `concat_dim`."""
    param = params(node, "concat_param")
    if not param.HasField("concat_dim"):
        return axis_of(param.axis, rank)
    if param.HasField("axis"):
        raise OpError("`axis` and `concat_dim` are both given; keep `axis`")
    return axis_of(param.concat_dim, rank, "concat_dim")


def _infer_concat(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    first = shapes[0]
    axis = concat_axis(node, len(first))
    for index, shape in enumerate(shapes):
        if not differ_only_along(axis, first, shape):
            raise OpError(
                f"the inputs may differ along axis {axis} only: input 0 is {describe(first)}, "
                f"input {index} is {describe(shape)}"
            )
    joined = sum(shape[axis] for shape in shapes)
    return ((*first[:axis], joined, *first[axis + 1 :]),)


def _infer_softmax(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    axis_of(params(node, "softmax_param").axis, len(shapes[0]))
    return (shapes[0],)


def _infer_lrn(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_rank(shapes[0], 4)
    size = params(node, "lrn_param").local_size
    if size % 2 == 0:
        raise OpError(f"`local_size` must be odd, not {size}")
    return (shapes[0],)


COMBINE_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Eltwise",
        summary="product, weighted sum or maximum of equal blobs, element by element",
        inputs=Arity(2, None),
        outputs=ONE,
        infer=_infer_eltwise,
        parameter="eltwise_param",
        quantizable=_ON,
        in_place_differs=_loses_an_input,
        notes=(
            "in place Caffe clears the top before SUM and MAX read it, so that the input which shares the "
            "top's blob is lost; that is kept"
        ),
    ),
    OpDef(
        name="caffe.Concat",
        summary="joins blobs along an axis",
        inputs=Arity(1, None),
        outputs=ONE,
        infer=_infer_concat,
        parameter="concat_param",
        quantizable=_ON,
        changes_nothing=lambda node, shapes: len(shapes) == 1,
        moves_data=True,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Split",
        summary="the input under several names",
        inputs=ONE,
        outputs=Arity(1, None),
        infer=same_shape,
        quantizable=_ON,
        identity=True,
        homogeneous=always,
        moves_data=True,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Softmax",
        summary="y = exp(x) / sum(exp(x)) along an axis",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_softmax,
        parameter="softmax_param",
        quantizable=_ON,
    ),
    OpDef(
        name="caffe.LRN",
        summary="divides by a power of the mean square of the neighbourhood, across or within channels",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_lrn,
        parameter="lrn_param",
        quantizable=_ON,
        notes="within a channel `k` is not used: the base is 1, as in Caffe",
    ),
)
