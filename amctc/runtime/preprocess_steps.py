"""The steps of a preprocessing as values that print back as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amctc.source import Span

Method = Literal["bilinear", "bicubic", "nearest"]

_PLAIN_PATH = re.compile(r"[^\s\",]+\.(binaryproto|npy)", re.IGNORECASE)
"""What the grammar takes for a path without quotes."""


@dataclass(frozen=True)
class Written:
    """What all steps share: where they were written, which does not count when they are compared."""

    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Resize(Written):
    """Resize to a width and a height in pixels; the aspect ratio is not kept."""

    width: int
    height: int
    method: Method = "bilinear"

    @property
    def name(self) -> str:
        return "resize"

    def __str__(self) -> str:
        return f"resize={_size(self.width, self.height)}{_option(self.method)}"


@dataclass(frozen=True)
class ResizeShort(Written):
    """Resize so that the shorter side has `size` pixels; the longer one is longer · size // shorter."""

    size: int
    method: Method = "bilinear"

    @property
    def name(self) -> str:
        return "resize-short"

    def __str__(self) -> str:
        return f"resize-short={self.size}{_option(self.method)}"


@dataclass(frozen=True)
class CenterCrop(Written):
    """Keep the middle; left = (image width − width) // 2, top likewise."""

    width: int
    height: int

    @property
    def name(self) -> str:
        return "center-crop"

    def __str__(self) -> str:
        return f"center-crop={_size(self.width, self.height)}"


@dataclass(frozen=True)
class Channels(Written):
    """The channels of the result: `rgb` as decoded, `bgr` reversed, `gray` one luma channel."""

    order: Literal["rgb", "bgr", "gray"]

    @property
    def name(self) -> str:
        return self.order

    def __str__(self) -> str:
        return self.order


@dataclass(frozen=True)
class Arithmetic(Written):
    """Subtract (`mean`), divide by (`std`) or multiply by (`scale`) one number, or one for each channel."""

    name: Literal["mean", "std", "scale"]
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.name}={':'.join(map(_number, self.values))}"


@dataclass(frozen=True)
class MeanImage(Written):
    """Subtract the image of a file: Caffe's `.binaryproto`, or `.npy`, relative to the current folder.

    `image` is the file's content, float32 [channels, height, width], once it has been read.
    """

    path: str
    image: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return "mean"

    def __str__(self) -> str:
        plain = _PLAIN_PATH.fullmatch(self.path) is not None
        quoted = self.path.replace('"', '""')
        return f"mean={self.path}" if plain else f'mean="{quoted}"'


@dataclass(frozen=True)
class Layout(Written):
    """The order of the axes of a sample: channels first or last."""

    order: Literal["chw", "hwc"]

    @property
    def name(self) -> str:
        return "layout"

    def __str__(self) -> str:
        return f"layout={self.order}"


@dataclass(frozen=True)
class TransposeHw(Written):
    """Swap the axes of height and width, as networks trained on column-major images want."""

    @property
    def name(self) -> str:
        return "transpose-hw"

    def __str__(self) -> str:
        return "transpose-hw"


Step = Resize | ResizeShort | CenterCrop | Channels | Arithmetic | MeanImage | Layout | TransposeHw


def _size(width: int, height: int) -> str:
    return str(width) if width == height else f"{width}x{height}"


def _option(method: Method) -> str:
    return "" if method == "bilinear" else f"@{method}"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
