"""How the filters of Conv and ConvTranspose lie over their input, after ONNX's attributes."""

from __future__ import annotations

from collections.abc import Sequence

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.op import Window
from amctc.ir import Node
from amctc.ir.node import Shape


def groups_of(node: Node) -> int:
    """The number of groups that the channels are cut into."""
    return int(node_attribute(node, "group", 1))


def conv_window(node: Node, shape: Shape) -> Window:
    """The window of a Conv over an input of that shape."""
    weight = node.weights["weight"].shape
    kernel, stride, dilation = _sizes(node, weight[2:])
    counts = [-(-size // step) for size, step in zip(shape[2:], stride, strict=True)]
    wanted = [
        (count - 1) * step + (k - 1) * d + 1 - size
        for count, step, k, d, size in zip(counts, stride, kernel, dilation, shape[2:], strict=True)
    ]
    return Window(1, shape[1], weight[0], groups_of(node), kernel, stride, dilation, _pads(node, wanted))


def transposed_window(node: Node, shape: Shape, out: Shape) -> Window:
    """The window of a ConvTranspose over an input of that shape, for an output of the shape `out`."""
    weight = node.weights["weight"].shape
    kernel, stride, dilation = _sizes(node, weight[2:])
    more = node_attribute(node, "output_padding", (0,) * len(kernel))
    whole = [
        (size - 1) * step + (k - 1) * d + 1
        for size, step, k, d in zip(shape[2:], stride, kernel, dilation, strict=True)
    ]
    cut = [full + extra - size for full, extra, size in zip(whole, more, out[2:], strict=True)]
    pads = tuple((begin, end - extra) for (begin, end), extra in zip(_pads(node, cut), more, strict=True))
    return Window(1, shape[1], out[1], groups_of(node), kernel, stride, dilation, pads)


def _sizes(node: Node, kernel: Shape) -> tuple[Shape, Shape, Shape]:
    """Kernel, strides and dilations."""
    ones = (1,) * len(kernel)
    return kernel, tuple(node_attribute(node, "strides", ones)), tuple(node_attribute(node, "dilations", ones))


def _pads(node: Node, wanted: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The padding before and behind each axis; `wanted` is that of both together for `auto_pad: SAME_*`."""
    auto = node_attribute(node, "auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        halves = [(max(size, 0) // 2, max(size, 0) - max(size, 0) // 2) for size in wanted]
        return tuple((small, large) if auto == "SAME_UPPER" else (large, small) for small, large in halves)
    given = node_attribute(node, "pads", (0,) * (2 * len(wanted))) if auto == "NOTSET" else (0,) * (2 * len(wanted))
    return tuple(zip(given[: len(wanted)], given[len(wanted) :], strict=True))
