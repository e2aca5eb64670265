"""`caffe.Classifier` and `caffe.Detector`: a net with its Transformer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from amctc.compat.caffe.io import Transformer, load_image, oversample, resize_image
from amctc.compat.caffe.modes import TEST
from amctc.compat.caffe.net import Net

Window = tuple[float, float, float, float]


class Prediction(TypedDict):
    """One window (top, left, bottom, right), the output for it, and the image's file."""

    window: Window
    prediction: NDArray[Any]
    filename: str


class Classifier(Net):
    """A net of one input whose images are resized to `image_dims` and cropped to the input.

    `mean`, `input_scale`, `raw_scale` and `channel_swap` are those of `caffe.io.Transformer`.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: Sequence[int] | None = None,
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        in_ = self.inputs[0]
        self.transformer = _transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[in_].shape[2:])
        self.image_dims: Sequence[int] = image_dims or [int(side) for side in self.crop_dims]

    def predict(self, inputs: Iterable[NDArray[Any]], oversample: bool = True) -> NDArray[Any]:
        """The outputs [images, classes] of images [height, width, channels].

        With `oversample` the mean over ten crops of each, else of its middle.
        """
        resized = np.stack([resize_image(image, self.image_dims) for image in inputs])
        crops = _ten_crops(resized, self.crop_dims) if oversample else _middles(resized, self.crop_dims)
        in_, out = self.inputs[0], self.outputs[0]
        ready: dict[str, Any] = {in_: np.stack([self.transformer.preprocess(in_, crop) for crop in crops])}
        found = self.forward_all(**ready)[out]
        if not oversample:
            return found
        return np.asarray(found.reshape(len(found) // 10, 10, *found.shape[1:]).mean(axis=1))


class Detector(Net):
    """A net of one input that classifies windows of images.

    `context_pad` is how many pixels around each window are shown too.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = _transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.context_pad = int(context_pad or 0)

    def detect_windows(self, images_windows: Iterable[tuple[str, Iterable[Sequence[float]]]]) -> list[Prediction]:
        """The output for every window (top, left, bottom, right) of image files."""
        in_, out = self.inputs[0], self.outputs[0]
        names: list[tuple[str, Window]] = []
        ready: list[NDArray[Any]] = []
        for filename, windows in images_windows:
            image = load_image(filename)
            for window in windows:
                top, left, bottom, right = (float(side) for side in window)
                names.append((filename, (top, left, bottom, right)))
                crop = self.crop(image, (top, left, bottom, right))
                ready.append(self.transformer.preprocess(in_, crop))
        if not ready:
            return []
        stacked: dict[str, Any] = {in_: np.stack(ready)}
        found = self.forward_all(**stacked)[out]
        return [
            {"window": window, "prediction": row, "filename": filename}
            for (filename, window), row in zip(names, found.reshape(len(names), -1), strict=True)
        ]

    def crop(self, im: NDArray[Any], window: Window) -> NDArray[Any]:
        """A window of an image, with `context_pad` pixels around it as far as the image goes."""
        top, left, bottom, right = (int(side) for side in window)
        pad = self.context_pad
        return im[max(0, top - pad) : bottom + pad, max(0, left - pad) : right + pad]


def _transformer(
    net: Net,
    mean: NDArray[Any] | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> Transformer:
    in_ = net.inputs[0]
    made = Transformer({in_: net.blobs[in_].shape})
    made.set_transpose(in_, (2, 0, 1))
    if mean is not None:
        made.set_mean(in_, mean)
    if input_scale is not None:
        made.set_input_scale(in_, input_scale)
    if raw_scale is not None:
        made.set_raw_scale(in_, raw_scale)
    if channel_swap is not None:
        made.set_channel_swap(in_, channel_swap)
    return made


def _ten_crops(images: NDArray[Any], size: NDArray[np.int_]) -> NDArray[Any]:
    return oversample(list(images), size)


def _middles(images: NDArray[Any], size: NDArray[np.int_]) -> NDArray[Any]:
    top, left = (np.array(images.shape[1:3]) - size) // 2
    return images[:, top : top + size[0], left : left + size[1]]
