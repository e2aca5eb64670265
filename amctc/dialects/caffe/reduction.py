"""Ops over one or more axes: Reduction, ReduceSum and its kin, ArgMax, ArgMin, TopK, Sort."""

from __future__ import annotations

import math
from dataclasses import dataclass

from amctc.dialects.caffe.blobs import axis_of, describe
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

SUM, ASUM, SUMSQ, MEAN = 1, 2, 3, 4
"""`operation` of a Reduction."""

_ON = Quantizable(on_by_default=True)
_OFF = Quantizable(on_by_default=False)
_NEEDS_ELEMENTS = ("caffe.ReduceMax", "caffe.ReduceMin")


# -- sums, means, products, extremes ---------------------------------------------------------------


def _infer_reduction(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    axis = axis_of(params(node, "reduction_param").axis, len(shapes[0]))
    return (shapes[0][:axis],)


def reduced_axes(node: Node, rank: int) -> tuple[int, ...]:
    """The axes that a ReduceSum or its like reduces, ascending; all of them where none is given.

    Raises `OpError` for an axis outside the blob and for one that is given twice.
    """
    found: set[int] = set()
    for given in params(node, "reduce_param").axis:
        axis = axis_of(given, rank)
        if axis in found:
            raise OpError(f"`axis` {given} is given twice")
        found.add(axis)
    return tuple(sorted(found)) or tuple(range(rank))


def _infer_reduce(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    axes = reduced_axes(node, len(shape))
    if node.op in _NEEDS_ELEMENTS and any(shape[axis] == 0 for axis in axes):
        raise OpError(f"an empty axis has no extreme: the input is {describe(shape)}")
    if params(node, "reduce_param").keepdims:
        return (tuple(1 if axis in axes else size for axis, size in enumerate(shape)),)
    return (tuple(size for axis, size in enumerate(shape) if axis not in axes),)


def _reduce(kind: str, what: str, quantizable: Quantizable) -> OpDef:
    return OpDef(
        name=f"caffe.Reduce{kind}",
        summary=f"{what} over some axes, or over all where none is given",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_reduce,
        parameter="reduce_param",
        quantizable=quantizable,
        notes="not a layer of BVLC Caffe; the axes stay with a size of 1 unless `keepdims` is false",
    )


# -- places and order ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """What an ArgMax or ArgMin looks for: the `top_k` best along `axis`, or in each whole item where that is None."""

    axis: int | None
    top_k: int
    values: bool
    """Whether the values are wanted: beside the places without an axis, in their stead with one."""


def arg_places(node: Node, shape: Shape) -> Places:
    """The parameters of an ArgMax or ArgMin for an input of that shape. Raises `OpError` as Caffe's set-up does."""
    param = params(node, "argmax_param")
    if not param.HasField("axis"):
        if not shape:
            raise OpError("takes a blob of one axis or more, or an `axis`")
        axis, size, of_what = None, math.prod(shape[1:]), "elements of an item"
    else:
        axis = axis_of(param.axis, len(shape))
        size, of_what = shape[axis], f"elements along axis {axis}"
    _check_count("top_k", int(param.top_k), size, of_what)
    return Places(axis, int(param.top_k), bool(param.out_max_val))


def _check_count(name: str, count: int, size: int, of_what: str) -> None:
    if count < 1:
        raise OpError(f"`{name}` must be positive")
    if count > size:
        raise OpError(f"`{name}` {count} is more than the {size} {of_what}")


def _infer_arg(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    found = arg_places(node, shape)
    if found.axis is not None:
        return ((*shape[: found.axis], found.top_k, *shape[found.axis + 1 :]),)
    ones = (1,) * max(0, len(shape) - 3)
    return ((shape[0], 2 if found.values else 1, found.top_k, *ones),)


def _infer_top_k(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    param = params(node, "topk_param")
    axis = axis_of(param.axis, len(shape))
    _check_count("k", int(param.k), shape[axis], f"elements along axis {axis}")
    return ((*shape[:axis], int(param.k), *shape[axis + 1 :]),) * len(node.outputs)


def _infer_sort(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    axis_of(params(node, "sort_param").axis, len(shapes[0]))
    return (shapes[0],) * len(node.outputs)


_ARG_SHAPES = (
    "without `axis` the top is [N, 1, top_k], at least 3 axes, with `out_max_val` [N, 2, top_k]: places, then "
    "values; with `axis` it has top_k elements there: places, or with `out_max_val` values"
)

REDUCTION_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Reduction",
        summary="coeff times the sum, sum of magnitudes, sum of squares or mean over the axes from `axis` on",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_reduction,
        parameter="reduction_param",
        quantizable=_ON,
    ),
    _reduce("Sum", "the sum", _ON),
    _reduce("Mean", "the mean", _ON),
    _reduce("Prod", "the product", _ON),
    _reduce("Max", "the largest element", _OFF),
    _reduce("Min", "the smallest element", _OFF),
    OpDef(
        name="caffe.ArgMax",
        summary="where the largest elements are (as floats), or what they are, along an axis or in each item",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_arg,
        parameter="argmax_param",
        quantizable=_ON,
        notes=f"{_ARG_SHAPES}; the largest comes first, of equal elements the one with the highest index",
    ),
    OpDef(
        name="caffe.ArgMin",
        summary="where the smallest elements are (as floats), or what they are, along an axis or in each item",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_arg,
        parameter="argmax_param",
        quantizable=_ON,
        notes=(
            "not a layer of BVLC Caffe; ArgMax with its order reversed, under ArgMax's own parameters: the smallest "
            f"comes first, of equal elements the one with the lowest index; {_ARG_SHAPES}"
        ),
    ),
    OpDef(
        name="caffe.TopK",
        summary="the k largest or smallest elements along an axis, best first; the second top has their indices",
        inputs=ONE,
        outputs=Arity(1, 2),
        infer=_infer_top_k,
        parameter="topk_param",
        quantizable=_OFF,
        notes="not a layer of BVLC Caffe; of equal elements the one with the lowest index comes first",
    ),
    OpDef(
        name="caffe.Sort",
        summary="the elements along an axis in order; the second top has the index that each had",
        inputs=ONE,
        outputs=Arity(1, 2),
        infer=_infer_sort,
        parameter="sort_param",
        quantizable=_ON,
        notes="not a layer of BVLC Caffe; equal elements stay in their order, ascending and descending",
    ),
)
