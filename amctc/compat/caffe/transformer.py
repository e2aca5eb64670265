"""`caffe.io.Transformer`: images [height, width, channels] to what a network's inputs take, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Transformer:
    """Prepares the inputs of a net; `inputs` maps each input to the shape of its blob.

    Without further words an input is only resized to the blob. In this order: the axes are transposed,
    the channels swapped, all multiplied by the raw scale, the mean subtracted, and multiplied by the
    input scale. Raises Exception or ValueError, in the words that scripts know, for settings that do not fit.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, NDArray[Any]] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: ArrayLike) -> NDArray[np.float32]:
        """What the input takes for one image: float32 [channels, height, width], usually."""
        from amctc.compat.caffe.io import resize_image

        self._check_input(in_)
        found = np.asarray(data).astype(np.float32)
        size = self.inputs[in_][2:]
        if found.shape[:2] != size:
            found = resize_image(found, size)
        order = self.transpose.get(in_)
        if order is not None:
            found = found.transpose(order)
        swap = self.channel_swap.get(in_)
        if swap is not None:
            found = found[swap, :, :]
        if in_ in self.raw_scale:
            found = found * np.float32(self.raw_scale[in_])
        if in_ in self.mean:
            found = (found - self.mean[in_]).astype(np.float32)
        if in_ in self.input_scale:
            found = found * np.float32(self.input_scale[in_])
        return found

    def deprocess(self, in_: str, data: ArrayLike) -> NDArray[Any]:
        """The image that `preprocess` made `data` of, but for the resizing."""
        self._check_input(in_)
        found = np.array(np.asarray(data).squeeze())
        if in_ in self.input_scale:
            found = found / self.input_scale[in_]
        if in_ in self.mean:
            found = found + self.mean[in_]
        if in_ in self.raw_scale:
            found = found / self.raw_scale[in_]
        swap = self.channel_swap.get(in_)
        if swap is not None:
            found = found[np.argsort(swap), :, :]
        order = self.transpose.get(in_)
        if order is not None:
            found = found.transpose(np.argsort(order))
        return found

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """In which order the axes of an image stand in the input: (2, 0, 1) moves the channels to the front."""
        self._check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """In which order the channels stand: (2, 1, 0) makes BGR of RGB."""
        self._check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """What the numbers are multiplied by first: 255 for images in 0 … 1."""
        self._check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: NDArray[Any]) -> None:
        """What is subtracted: one number for each channel, or a whole image [channels, height, width].

        An image of another size than the input is resized.
        """
        from amctc.compat.caffe.io import resize_image

        self._check_input(in_)
        shape = self.inputs[in_][1:]
        if mean.ndim == 1:
            if mean.shape[0] != shape[0]:
                raise ValueError("Mean channels incompatible with input.")
            self.mean[in_] = mean[:, np.newaxis, np.newaxis]
            return
        image = mean[np.newaxis] if mean.ndim == 2 else mean
        if image.ndim != 3 or image.shape[0] not in (1, shape[0]):
            raise ValueError("Mean shape invalid.")
        if image.shape[1:] != tuple(shape[1:]):
            image = resize_image(image.transpose(1, 2, 0), shape[1:]).transpose(2, 0, 1)
        self.mean[in_] = image

    def set_input_scale(self, in_: str, scale: float) -> None:
        """What the numbers are multiplied by last, after the mean was subtracted."""
        self._check_input(in_)
        self.input_scale[in_] = scale

    def _check_input(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {list(self.inputs)}")
