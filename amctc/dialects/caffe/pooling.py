"""Pooling over two spatial axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amctc.dialects.caffe.activation import always
from amctc.dialects.caffe.blobs import need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

PARAMETER = "pooling_param"
MAX, AVE, STOCHASTIC = 0, 1, 2
_FLOOR = 1


@dataclass(frozen=True)
class PoolGeometry:
    """The numbers of one pooling, each for height and width; `size` is the image, `out` the output."""

    method: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]


def pool_geometry(node: Node, shape: Shape) -> PoolGeometry:
    """The geometry of a Pooling layer for an input [N, C, H, W].

    Output size: ceil (or floor, by `round_mode` or `ceil_mode`) of (in + 2*pad - kernel) / stride, plus 1. If either
    pad is set, a last window that starts at or beyond in + pad is dropped, on both axes. Raises
    `OpError` for everything Caffe's set-up of the layer refuses.
    """
    need_rank(shape, 4)
    param = params(node, PARAMETER)
    size = shape[2], shape[3]
    if param.pool == STOCHASTIC:
        raise OpError("`pool: STOCHASTIC` is for training on a GPU; use MAX or AVE")
    pad = _pair(param, "pad", 0)
    stride = _pair(param, "stride", 1)
    kernel = size if param.global_pooling else _kernel(param)
    if param.global_pooling:
        _check_global(param, pad, stride)
    if min(stride) < 1:
        raise OpError("`stride` must be positive")
    if min(kernel) < 1:
        raise OpError(f"the window must have positive sizes, not {kernel[0]}x{kernel[1]}")
    if max(pad) and any(p >= k for p, k in zip(pad, kernel, strict=True)):
        raise OpError(f"the padding {pad[0]}x{pad[1]} must be smaller than the window {kernel[0]}x{kernel[1]}")
    out = _out_size(size, kernel, stride, pad, rounds_down(param))
    return PoolGeometry(int(param.pool), size, kernel, stride, pad, out)


def rounds_down(param: Any) -> bool:
    """Whether a `pooling_param` rounds sizes down, by either of its two fields for it. Raises `OpError` for both."""
    if param.HasField("ceil_mode") and param.HasField("round_mode"):
        raise OpError("`ceil_mode` and `round_mode` are both given; keep one")
    return param.round_mode == _FLOOR or not param.ceil_mode


def _kernel(param: Any) -> tuple[int, int]:
    both = param.HasField("kernel_h") and param.HasField("kernel_w")
    if param.HasField("kernel_size") == both:
        raise OpError("the window is missing or given twice; give `kernel_size`, or `kernel_h` and `kernel_w`")
    return (param.kernel_h, param.kernel_w) if both else (param.kernel_size, param.kernel_size)


def _pair(param: Any, name: str, default: int) -> tuple[int, int]:
    high, wide = param.HasField(f"{name}_h"), param.HasField(f"{name}_w")
    if not high and not wide:
        return getattr(param, name), getattr(param, name)
    if param.HasField(name) or not (high and wide):
        raise OpError(f"`{name}` and `{name}_h`/`{name}_w` are mixed; give `{name}`, or both of the others")
    return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")


def _check_global(param: Any, pad: tuple[int, int], stride: tuple[int, int]) -> None:
    if any(param.HasField(name) for name in ("kernel_size", "kernel_h", "kernel_w")):
        raise OpError("`global_pooling` takes the whole image as its window; leave the kernel's size out")
    if pad != (0, 0) or stride != (1, 1):
        raise OpError("`global_pooling` allows no padding and no stride but 1")


def _out_size(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], floor: bool
) -> tuple[int, int]:
    found: list[int] = []
    for n, k, s, p in zip(size, kernel, stride, pad, strict=True):
        room = n + 2 * p - k
        count = (room // s if floor else -(-room // s)) + 1
        if max(pad) and (count - 1) * s >= n + p:
            count -= 1
        if count < 1:
            raise OpError(f"a window of {k} does not fit an axis of {n} with a padding of {p}")
        found.append(count)
    return found[0], found[1]


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    g = pool_geometry(node, shapes[0])
    if g.method != MAX and len(node.outputs) > 1:
        raise OpError("only MAX pooling has a second top, the mask")
    return ((*shapes[0][:2], *g.out),) * len(node.outputs)


def _changes_nothing(node: Node, shapes: tuple[Shape, ...]) -> bool:
    g = pool_geometry(node, shapes[0])
    return (g.kernel, g.stride, g.pad) == ((1, 1), (1, 1), (0, 0))


def _chooses(node: Node) -> bool:
    """MAX pooling gives elements of its input, one by one."""
    return params(node, PARAMETER).pool == MAX and len(node.outputs) == 1


POOLING_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Pooling",
        summary="the largest element or the mean of each window",
        inputs=ONE,
        outputs=Arity(1, 2),
        infer=_infer,
        parameter=PARAMETER,
        quantizable=Quantizable(on_by_default=True),
        homogeneous=always,
        keeps_grid=_chooses,
        changes_nothing=_changes_nothing,
        notes=(
            "sizes are rounded up by default; AVE divides by the part of the window inside image + padding; "
            "a window wholly outside gives -FLT_MAX (MAX) or NaN or -0 (AVE), as Caffe does; the second top "
            "of MAX is the index in the channel's image of each maximum, -1 for none"
        ),
    ),
)
