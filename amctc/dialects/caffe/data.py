"""Where data enter (see `data_layers`) and how they are reshaped: Dropout, Flatten, Reshape."""

from __future__ import annotations

import math

from amctc.dialects.caffe.activation import always
from amctc.dialects.caffe.become import become_reshape
from amctc.dialects.caffe.blobs import axis_of, describe, need_own_top, same_dtype, same_shape
from amctc.dialects.caffe.data_layers import DATA_LAYER_OPS
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, OpDef, OpError, Quantizable, Reshaping
from amctc.ir import Node
from amctc.ir.node import Shape

_ON = Quantizable(on_by_default=True)


def _infer_flatten(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    shape = shapes[0]
    param = params(node, "flatten_param")
    axis, end = axis_of(param.axis, len(shape)), axis_of(param.end_axis, len(shape), "end_axis")
    if end < axis:
        raise OpError(f"`end_axis` {param.end_axis} lies before `axis` {param.axis}")
    return ((*shape[:axis], math.prod(shape[axis : end + 1]), *shape[end + 1 :]),)


def _infer_reshape(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    shape, param = shapes[0], params(node, "reshape_param")
    start, end = _replaced(param.axis, param.num_axes, len(shape))
    wanted = [int(dim) for dim in param.shape.dim]
    if any(dim < -1 for dim in wanted):
        raise OpError(f"a `dim` must be positive, 0 (copy) or -1 (infer), not {min(wanted)}")
    if wanted.count(-1) > 1:
        raise OpError("at most one `dim` may be -1")
    for index, dim in enumerate(wanted):
        if dim == 0 and start + index >= len(shape):
            raise OpError(f"`dim` number {index} is 0, but {describe(shape)} has no axis {start + index} to copy")
    dims = [shape[start + index] if dim == 0 else dim for index, dim in enumerate(wanted)]
    head, tail = shape[:start], shape[end:]
    if -1 in dims:
        known = math.prod(head) * math.prod(tail) * math.prod(dim for dim in dims if dim != -1)
        count = math.prod(shape)
        if known == 0 or count % known:
            raise OpError(f"the `dim` that is -1 cannot be found: {known} does not divide the {count} elements")
        dims[dims.index(-1)] = count // known
    found = (*head, *dims, *tail)
    if math.prod(found) != math.prod(shape):
        raise OpError(f"{describe(shape)} cannot become {describe(found)}: the numbers of elements differ")
    return (found,)


def _replaced(axis: int, num_axes: int, rank: int) -> tuple[int, int]:
    """[start, end): the axes that Reshape replaces; a negative `axis` may stand behind the last one."""
    start = axis if axis >= 0 else rank + axis + 1
    if not 0 <= start <= rank:
        raise OpError(f"`axis` {axis} is outside a blob of {rank} axes")
    if num_axes < -1:
        raise OpError(f"`num_axes` must be -1 or more, not {num_axes}")
    end = rank if num_axes == -1 else start + num_axes
    if end > rank:
        raise OpError(f"`num_axes` {num_axes} from axis {start} on is more than the {rank} axes of the blob")
    return start, end


DATA_OPS: tuple[OpDef, ...] = (
    *DATA_LAYER_OPS,
    OpDef(
        name="caffe.Dropout",
        summary="nothing at inference",
        inputs=ONE,
        outputs=ONE,
        infer=same_shape,
        parameter="dropout_param",
        identity=True,
        homogeneous=always,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Flatten",
        summary="makes one axis of the axes from `axis` to `end_axis`",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_flatten,
        parameter="flatten_param",
        quantizable=_ON,
        reshaping=Reshaping(become_reshape),
        changes_nothing=lambda node, shapes: _infer_flatten(node, shapes) == shapes,
        moves_data=True,
        dtypes=same_dtype,
    ),
    OpDef(
        name="caffe.Reshape",
        summary="the same elements under another shape",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_reshape,
        parameter="reshape_param",
        quantizable=_ON,
        reshaping=Reshaping(become_reshape),
        changes_nothing=lambda node, shapes: _infer_reshape(node, shapes) == shapes,
        moves_data=True,
        dtypes=same_dtype,
        notes="a negative `axis` counts from the end plus one: -1 inserts behind the last axis",
    ),
)
