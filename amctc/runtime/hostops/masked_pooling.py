"""MAX pooling with its second output, the mask."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amctc.dialects.caffe.pooling import PoolGeometry, pool_geometry
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp
from amctc.runtime.lowering.pooling import FLT_MAX


def _is_masked_pooling(node: Node, dtypes: Mapping[Value, str]) -> bool:
    return node.op == "caffe.Pooling" and len(node.outputs) > 1


def _run_masked_pooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """MAX pooling and, as float32, where in the channel's image each maximum is (the first of equals; -1: none).

    Window by window: nothing of the size of the padding or of all windows together is made, whatever
    the parameters say.
    """
    x = inputs[0].astype(np.float32, copy=False)
    g = pool_geometry(node, x.shape)
    planes = x.reshape(-1, *g.size)
    top = np.full((len(planes), *g.out), -FLT_MAX, np.float32)
    mask = np.full_like(top, -1)
    for row, column in np.ndindex(*g.out):
        rows, columns = _inside(g, 0, row), _inside(g, 1, column)
        window = planes[:, rows, columns]
        if not window.size:
            continue
        width = window.shape[2]
        best = window.reshape(len(planes), -1).argmax(axis=1)
        found = window[np.arange(len(planes)), best // width, best % width]
        there = found > -FLT_MAX
        top[there, row, column] = found[there]
        place = (rows.start + best // width) * g.size[1] + columns.start + best % width
        mask[there, row, column] = place[there]
    shape = (*x.shape[:2], *g.out)
    return top.reshape(shape), mask.reshape(shape)


def _inside(g: PoolGeometry, axis: int, number: int) -> slice:
    """The part of a window that lies inside the image, along one axis."""
    start = number * g.stride[axis] - g.pad[axis]
    return slice(max(start, 0), max(0, min(start + g.kernel[axis], g.size[axis])))


MASKED_POOLING = HostOp("max pooling with a mask", _is_masked_pooling, _run_masked_pooling)
