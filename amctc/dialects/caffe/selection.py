"""Ops that pick or place elements by index: BatchReindex, Filter, Embed, MaxUnPool, Unpooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amctc.dialects.caffe.blobs import describe, need_own_top, need_rank, same_dtype
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

EMBED = "embed_param"
UNPOOLING = "unpooling_param"
_MAX = 0


def _infer_batch_reindex(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    data, index = shapes
    if not data:
        raise OpError("takes a blob with a batch axis, not a scalar")
    if len(index) != 1:
        raise OpError(f"the second input, the indices, must have one axis, not {describe(index)}")
    return ((*index, *data[1:]),)


def _infer_filter(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    *data, selector = shapes
    if len(node.outputs) != len(data):
        raise OpError(f"needs one top for each input but the selector, {len(data)}; this one has {len(node.outputs)}")
    if not selector or any(size != 1 for size in selector[1:]):
        raise OpError(f"the selector, the last input, must hold one number for each item, not {describe(selector)}")
    for index, shape in enumerate(data):
        if shape[:1] != selector[:1]:
            raise OpError(f"input {index}, {describe(shape)}, must have as many items as the selector, {selector[0]}")
    return tuple(data)


def _embed_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    param = params(node, EMBED)
    weight = {"weight": (param.input_dim, param.num_output)}
    return {**weight, "bias": (param.num_output,)} if param.bias_term else weight


def _infer_embed(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    param = params(node, EMBED)
    if param.input_dim < 1 or param.num_output < 1:
        raise OpError("`input_dim` and `num_output` must be given and be positive")
    return ((*shapes[0], param.num_output),)


def _infer_max_unpool(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    need_rank(shapes[0], 4)
    param = params(node, "max_unpool_param")
    if not (param.dst_h and param.dst_w):
        raise OpError("`dst_h` and `dst_w`, the size of the output, must be given and be positive")
    _need_mask(shapes)
    return ((*shapes[0][:2], param.dst_h, param.dst_w),)


def _need_mask(shapes: tuple[Shape, ...]) -> None:
    data, mask = shapes[0], shapes[1]
    if data != mask:
        raise OpError(f"the mask, {describe(mask)}, must have the shape of the data, {describe(data)}")


def unpooling_steps(node: Node) -> tuple[tuple[int, int], tuple[int, int]]:
    """Stride and padding of an Unpooling, each for height and width."""
    param = params(node, UNPOOLING)
    return _pair(param, "stride"), _pair(param, "pad")


def _pair(param: Any, name: str) -> tuple[int, int]:
    high, wide = f"{name}_h", f"{name}_w"
    both = param.HasField(high) and param.HasField(wide)
    if both == (param.HasField(high) or param.HasField(wide)) and not (both and param.HasField(_single(name))):
        return (getattr(param, high), getattr(param, wide)) if both else (getattr(param, _single(name)),) * 2
    raise OpError(f"`{_single(name)}`, `{high}` and `{wide}` are mixed; give the first, or both of the others")


def _single(name: str) -> str:
    return "kernel_size" if name == "kernel" else name


def _infer_unpooling(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    need_own_top(node)
    data = shapes[0]
    need_rank(data, 4)
    if len(shapes) > 1:
        _need_mask(shapes)
    param = params(node, UNPOOLING)
    if param.unpool != _MAX:
        raise OpError("only `unpool: MAX` is known")
    kernel, (stride, pad) = _pair(param, "kernel"), unpooling_steps(node)
    if min(stride) < 1:
        raise OpError("`stride` must be positive")
    if param.HasField("unpool_h") or param.HasField("unpool_w"):
        size = param.unpool_h, param.unpool_w
    elif param.HasField("unpool_size"):
        size = param.unpool_size, param.unpool_size
    elif min(kernel) < 1:
        raise OpError("the output's size is missing; give `unpool_h` and `unpool_w`, or the pooling's `kernel_size`")
    else:
        sides = zip(data[2:], kernel, stride, pad, strict=True)
        high, wide = ((n - 1) * s + k - 2 * p for n, k, s, p in sides)
        size = high, wide
    if min(size) < 1:
        raise OpError(f"the output would be {size[0]}x{size[1]}")
    return ((*data[:2], *size),)


_PLACES = (
    "the mask is that of MAX pooling: the index in the channel's image; an index outside the output places nothing, "
    "of equal ones the last wins"
)

SELECTION_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.BatchReindex",
        summary="the items of the batch that the second input names, in its order",
        inputs=Arity(2, 2),
        outputs=ONE,
        infer=_infer_batch_reindex,
        dtypes=same_dtype,
        notes="an index outside the batch is an error, as in Caffe",
    ),
    OpDef(
        name="caffe.Filter",
        summary="the items of the batch whose selector, the last input, is not 0",
        inputs=Arity(2, None),
        outputs=Arity(1, None),
        infer=_infer_filter,
        dtypes=lambda node: tuple(value.dtype for value in node.inputs[: len(node.outputs)]),
        notes="the size of the batch is known only when it has run",
    ),
    OpDef(
        name="caffe.Embed",
        summary="the row of the weights, plus the bias, that each element names",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_embed,
        weight_shapes=_embed_weights,
        parameter=EMBED,
        notes="indices are cut to whole numbers, as in Caffe; one outside the weights is an error",
    ),
    OpDef(
        name="caffe.MaxUnPool",
        summary="places each element where the mask says, in an image of zeros",
        inputs=Arity(2, 2),
        outputs=ONE,
        infer=_infer_max_unpool,
        parameter="max_unpool_param",
        notes=_PLACES,
    ),
    OpDef(
        name="caffe.Unpooling",
        summary="undoes a MAX pooling: places each element where the mask says, in an image of zeros",
        inputs=Arity(1, 2),
        outputs=ONE,
        infer=_infer_unpooling,
        parameter=UNPOOLING,
        quantizable=Quantizable(on_by_default=False, data_inputs=lambda node: (0,)),
        notes=(
            f"{_PLACES}; without a mask each element goes to the first of its window; the output has `unpool_h` x "
            "`unpool_w` elements, or (in - 1) * stride + kernel - 2 * pad; AVE and TILE are not known"
        ),
    ),
)
