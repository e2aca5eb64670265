"""`--preprocess`: the steps that make a network's input of an image, and their arithmetic.

Everything after the 8-bit pixel steps (`resize`, `resize-short`, `center-crop`, `gray`) is float32
arithmetic, one operation a step, in the order written; nothing is merged or reordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.runtime.preprocess_steps import (
    Arithmetic,
    CenterCrop,
    Channels,
    Layout,
    MeanImage,
    Resize,
    ResizeShort,
    Step,
    TransposeHw,
)
from amctc.source import SourceFile

PixelStep = Resize | ResizeShort | CenterCrop | Channels

_APPLY: dict[str, Callable[..., object]] = {"mean": np.subtract, "std": np.divide, "scale": np.multiply}


@dataclass(frozen=True)
class Preprocess:
    """The steps of a preprocessing, in order. Without any, an image is RGB, 0 to 255, channels first."""

    steps: tuple[Step, ...] = ()

    @staticmethod
    def parse(text: str) -> Preprocess:
        """The steps of a text such as `resize-short=256,center-crop=227,bgr,mean=104:117:123`.

        Raises `DiagnosticError` that points into the text: AM101 syntax, AM451 an unknown step,
        AM452 a value, AM453 a step that is repeated or stands in the wrong place. Files are not read
        before `opened`.
        """
        from amctc.runtime.preprocess_text import parse_steps

        return Preprocess(parse_steps(SourceFile("--preprocess", text)))

    def opened(self) -> Preprocess:
        """The same with its mean images read, so that each is read only once.

        Raises `DiagnosticError` where one cannot be used; see `read_mean_image`.
        """
        return Preprocess(tuple(_opened(step) if isinstance(step, MeanImage) else step for step in self.steps))

    def __str__(self) -> str:
        """Text that `parse` reads back as an equal value."""
        return ",".join(map(str, self.steps))

    @property
    def pixel_steps(self) -> tuple[PixelStep, ...]:
        """The steps that work on the 8-bit image, in order; of `Channels` only `gray` is among them."""
        return tuple(
            step
            for step in self.steps
            if isinstance(step, Resize | ResizeShort | CenterCrop)
            or (isinstance(step, Channels) and step.order == "gray")
        )

    @property
    def is_gray(self) -> bool:
        return any(isinstance(step, Channels) and step.order == "gray" for step in self.steps)

    @property
    def layout(self) -> Literal["chw", "hwc"]:
        for step in self.steps:
            if isinstance(step, Layout):
                return step.order
        return "chw"

    def image_array(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the steps after the pixel steps make of an image.

        `pixels` is uint8 [height, width, channels] in RGB or grey, resized and cropped already. The
        result is float32 [channels, height, width], or [height, width, channels] for `layout=hwc`.
        Raises `DiagnosticError` (AM447) where a step does not fit the number of channels or the size.
        """
        array = self._arithmetic(pixels.astype(np.float32)[np.newaxis], axis=3)[0]
        if any(isinstance(step, TransposeHw) for step in self.steps):
            array = array.swapaxes(0, 1)
        if self.layout == "chw":
            array = array.transpose(2, 0, 1)
        return np.ascontiguousarray(array)

    def batch_array(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the arithmetic steps make of a float32 batch [samples, channels, …], which is overwritten.

        With `layout=hwc` the last axis is that of the channels. Raises `DiagnosticError` (AM447)
        where a step does not fit the number of channels or the size.
        """
        axis = 1 if self.layout == "chw" else batch.ndim - 1
        return np.ascontiguousarray(self._arithmetic(batch, axis))

    def check_arrays(self) -> None:
        """Refuse (AM447) steps that work on images only, because the data are arrays."""
        for step in self.steps:
            match step:
                case Resize() | ResizeShort() | CenterCrop() | TransposeHw() | Channels(order="gray"):
                    raise error(
                        "AM447",
                        f"`{step.name}` works on images, the data are arrays",
                        step.span,
                        help="arrays take `mean`, `std`, `scale`, `rgb`, `bgr` and `layout`; "
                        "give a folder of images, or resize before writing the arrays",
                    )
                case _:
                    pass

    def _arithmetic(self, array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """On a batch [samples, …] with the channels along `axis`, which is overwritten."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are told with their sample's number
            for step in self.steps:
                match step:
                    case Arithmetic():
                        operands = _along(step, array, axis)
                        _APPLY[step.name](array, operands, out=array)
                    case MeanImage():
                        np.subtract(array, _mean_for(step, array, axis), out=array)
                    case Channels(order="bgr"):
                        _need_three_channels(step, array, axis)
                        array = np.flip(array, axis)
                    case Resize() | ResizeShort() | CenterCrop() | Channels() | Layout() | TransposeHw():
                        pass
                    case _:
                        assert_never(step)
        return array


def _along(step: Arithmetic, array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The step's numbers in float32, shaped so that they meet the channel axis."""
    if len(step.values) == 1:
        return np.array(step.values[0], np.float32)
    channels = array.shape[axis] if axis < array.ndim else 1
    if len(step.values) != channels:
        raise error(
            "AM447",
            f"`{step.name}` gives {len(step.values)} numbers, the data have {_count(channels, 'channel')}",
            step.span,
            help=f"give one number, or {channels} parted by `:`",
        )
    shape = [1] * array.ndim
    shape[axis] = channels
    return np.array(step.values, np.float32).reshape(shape)


def _opened(step: MeanImage) -> MeanImage:
    from amctc.runtime.mean_image import read_mean_image

    return step if step.image is not None else replace(step, image=read_mean_image(step.path))


def _mean_for(step: MeanImage, array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    from amctc.runtime.mean_image import mean_for

    return mean_for(step, array.shape[1:], channels_last=axis == array.ndim - 1)


def _need_three_channels(step: Channels, array: NDArray[np.float32], axis: int) -> None:
    channels = array.shape[axis] if axis < array.ndim else 1
    if channels == 3:
        return
    message = f"`{step.name}` swaps the channels of colour images, the data have {_count(channels, 'channel')}"
    raise error("AM447", message, step.span, help="leave `bgr` out, or say `layout=hwc` if the channels come last")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
