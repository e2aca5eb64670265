"""MAX pooling with its second output, the mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.pooling import pool_geometry
from amctc.ir import Node, Value
from amctc.ir.graph import Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp
from amctc.runtime.lowering.pooling import FLT_MAX, end_padding


def _is_masked_pooling(node: Node, dtypes: Mapping[Value, str]) -> bool:
    return node.op == "caffe.Pooling" and len(node.outputs) > 1


def _run_masked_pooling(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    """MAX pooling and, as float32, where in the channel's image each maximum is (the first of equals; -1: none)."""
    x = inputs[0].astype(np.float32, copy=False)
    g = pool_geometry(node, x.shape)
    pads = tuple(zip(g.pad, end_padding(g), strict=True))
    padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=-FLT_MAX)
    image = np.pad(np.arange(g.size[0] * g.size[1]).reshape(g.size), pads, constant_values=-1)
    windows = _flat_windows(padded, g.kernel, g.stride, g.out)
    places = _flat_windows(image, g.kernel, g.stride, g.out)
    best = windows.argmax(axis=-1)[..., None]
    top = np.take_along_axis(windows, best, axis=-1)[..., 0]
    mask = np.take_along_axis(np.broadcast_to(places, windows.shape), best, axis=-1)[..., 0]
    mask = np.where(top > -FLT_MAX, mask, -1)
    return top, mask.astype(np.float32)


def _flat_windows(
    image: NDArray[Any], kernel: tuple[int, int], stride: tuple[int, int], out: tuple[int, int]
) -> NDArray[Any]:
    """[..., H, W] as [..., out_h, out_w, kernel_h * kernel_w]."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(-2, -1))
    chosen = windows[..., : (out[0] - 1) * stride[0] + 1 : stride[0], : (out[1] - 1) * stride[1] + 1 : stride[1], :, :]
    return chosen.reshape(*chosen.shape[:-2], -1)


MASKED_POOLING = HostOp("max pooling with a mask", _is_masked_pooling, _run_masked_pooling)
