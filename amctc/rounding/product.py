"""A linear layer as torch computes it, whatever its dialect: by the traits of the op table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from amctc.dialects.op import Window
from amctc.dialects.scaling import channels_of
from amctc.dialects.traits import linear_trait
from amctc.ir import Node
from amctc.ir.node import Shape


@dataclass(frozen=True, eq=False)
class Product:
    """A convolution over two axes, a transposed one, or rows times a matrix.

    Input and output of one batch have the shapes `given` and `made`, but for the number of samples, which is their
    first axis. Weights are `[groups, Cout / groups, Cin / groups, kernel elements]`, as `LinearChannels.split` gives
    them. In torch the data of a layer with windows are [samples, channels, height, width], and those of any other
    [samples, rows, channels].
    """

    given: Shape
    made: Shape
    input_axis: int
    output_axis: int
    window: Window | None
    transposed: bool

    @classmethod
    def of(cls, node: Node, given: Shape, made: Shape) -> Product:
        """That of a linear node whose weights have two axes or four."""
        trait = linear_trait(node)
        window = None if trait.window is None else trait.window(node, given)
        input_axis, output_axis = channels_of(node).input_axis(node, given), trait.channel_axis(node, made)
        return cls(given, made, input_axis, output_axis, window, trait.transposed)

    def inputs(self, array: NDArray[Any]) -> Tensor:
        """The layer's input as torch has it."""
        if self.window is not None:
            return _tensor(np.moveaxis(array, self.input_axis, 1))
        return _tensor(array.reshape(len(array), -1, math.prod(array.shape[self.input_axis :])))

    def outputs(self, array: NDArray[Any]) -> Tensor:
        """The layer's output as torch has it."""
        if self.window is not None:
            return _tensor(np.moveaxis(array, self.output_axis, 1))
        return _tensor(array.reshape(len(array), -1, array.shape[self.output_axis]))

    def array(self, made: Tensor) -> NDArray[np.float32]:
        """The inverse of `outputs`, contiguous."""
        found: NDArray[np.float32] = made.numpy()
        if self.window is not None:
            return np.ascontiguousarray(np.moveaxis(found, 1, self.output_axis))
        return found.reshape(len(found), *self.made[1:])

    def channels_first(self, made: Tensor) -> Tensor:
        """An output as [anything, channels, ...]."""
        return made if self.window is not None else made.flatten(0, 1)

    def __call__(self, x: Tensor, parts: Tensor, bias: Tensor | None) -> Tensor:
        """The output for an input; `bias` is [Cout]."""
        if self.window is None:
            return functional.linear(x, parts[0, :, :, 0], bias)
        made = self._windowed(x, parts, self.window)
        return made if bias is None else made + bias.view(1, -1, 1, 1)

    def _windowed(self, x: Tensor, parts: Tensor, window: Window) -> Tensor:
        (top, bottom), (left, right) = window.pads
        groups, outputs, inputs, _ = parts.shape
        if not self.transposed:
            filters = parts.reshape(groups * outputs, inputs, *window.kernel)
            even = (top, left) == (bottom, right)
            padded = x if even else functional.pad(x, (left, right, top, bottom))
            pads = (top, left) if even else 0
            return functional.conv2d(padded, filters, None, window.stride, pads, window.dilation, groups)
        filters = parts.transpose(1, 2).reshape(groups * inputs, outputs, *window.kernel)
        whole = functional.conv_transpose2d(x, filters, None, window.stride, 0, 0, groups, window.dilation)
        return functional.pad(whole, (-left, -right, -top, -bottom))


def _tensor(array: NDArray[Any]) -> Tensor:
    """A float32 copy: whoever computed an array may use it again."""
    return torch.from_numpy(np.array(array, np.float32, order="C"))
