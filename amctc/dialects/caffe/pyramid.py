"""SPP in terms of pooling."""

from __future__ import annotations

from amctc.dialects.caffe.blobs import describe, need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.pooling import STOCHASTIC, PoolGeometry
from amctc.dialects.op import OpError
from amctc.ir import Node
from amctc.ir.node import Shape

MOST_LEVELS = 32
"""More than 32 levels need an axis of more than 2**31 elements."""


def pyramid_levels(node: Node, shape: Shape) -> tuple[PoolGeometry, ...]:
    """The poolings of an SPP for an input [N, C, H, W]: level i has 2**i bins an axis.

    A bin is ceil(size / bins) long, and (bin * bins - size + 1) / 2 (rounded down) elements are padded.
    Raises `OpError` where Caffe's set-up of the layer or of one of its poolings refuses.
    """
    need_rank(shape, 4)
    param = params(node, "spp_param")
    size = shape[2], shape[3]
    if min(size) < 1:
        raise OpError(f"an image must have elements, this one is {describe(size)}")
    if param.pool == STOCHASTIC:
        raise OpError("`pool: STOCHASTIC` is for training on a GPU; use MAX or AVE")
    if param.pyramid_height < 1:
        raise OpError("`pyramid_height` must be given and positive")
    if param.pyramid_height > MOST_LEVELS:
        raise OpError(f"`pyramid_height` {param.pyramid_height} is too much for an image of {describe(size)}")
    return tuple(_level(int(param.pool), size, level) for level in range(param.pyramid_height))


def _level(method: int, size: tuple[int, int], level: int) -> PoolGeometry:
    bins = 2**level
    kernel = -(-size[0] // bins), -(-size[1] // bins)
    pad = (kernel[0] * bins - size[0] + 1) // 2, (kernel[1] * bins - size[1] + 1) // 2
    if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
        raise OpError(
            f"level {level} of the pyramid has bins of {describe(kernel)} with a padding of {describe(pad)}, "
            "which must be smaller; lower `pyramid_height`"
        )
    out = _bins(size[0], kernel[0], pad[0], max(pad)), _bins(size[1], kernel[1], pad[1], max(pad))
    return PoolGeometry(method, size, kernel, kernel, pad, out)


def _bins(size: int, kernel: int, pad: int, any_pad: int) -> int:
    """How many windows Caffe's pooling makes: rounded up, without a last one that starts behind the padding."""
    count = -(-(size + 2 * pad - kernel) // kernel) + 1
    return count - 1 if any_pad and (count - 1) * kernel >= size + pad else count
