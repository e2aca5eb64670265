"""Datum records as arrays, and what Caffe's data transformer does to them in phase TEST."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from amctc.compat.caffe.errors import refusal
from amctc.compat.caffe.image_files import IMAGE_FORMATS
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.schema import caffe_schema
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.images import MAX_PIXELS, require_pillow
from amctc.runtime.mean_image import read_mean_image


def parse_datum(data: bytes, where: str) -> Any:
    """A serialized Datum; `where` are words for messages. Raises `CaffeError` (AM665) for what is none."""
    datum: Any = caffe_schema().message("caffe.Datum")()
    try:
        datum.ParseFromString(data)
    except DecodeError:
        raise refusal("AM665", f"{where} is no Datum", help="write it with Caffe's tools") from None
    return datum


def datum_array(datum: Any, where: str, *, color: bool = False, gray: bool = False) -> NDArray[Any]:
    """The image of a Datum, uint8 or float32 [channels, height, width]; an encoded one is decoded, to BGR.

    Raises `CaffeError` (AM665) where the numbers do not fill the shape or the image cannot be decoded.
    """
    if datum.encoded:
        return _decoded(datum.data, where, color=color, gray=gray)
    shape = (datum.channels, datum.height, datum.width)
    flat: NDArray[Any] = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or flat.size != shape[0] * shape[1] * shape[2]:
        raise refusal("AM665", f"{where} has the shape {shape} and {flat.size} numbers")
    return flat.reshape(shape)


def _decoded(data: bytes, where: str, *, color: bool, gray: bool) -> NDArray[np.uint8]:
    require_pillow()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has more than {MAX_PIXELS} pixels")
            mode = "RGB" if color else "L" if gray else _mode(image.mode)
            pixels = np.asarray(image.convert(mode), np.uint8)
    except Exception as problem:  # a damaged image makes Pillow's decoders raise nearly anything
        reason = str(problem).split("\n", 1)[0] or type(problem).__name__
        raise refusal("AM665", f"the image in {where} cannot be decoded: {reason}") from None
    if pixels.ndim == 2:
        return pixels[np.newaxis]
    order = [2, 1, 0, *range(3, pixels.shape[2])]
    return np.ascontiguousarray(pixels[:, :, order].transpose(2, 0, 1))


def _mode(mode: str) -> str:
    """What OpenCV would give for an image of one of Pillow's modes: grey, BGR, or BGR and alpha."""
    if mode in ("1", "L", "I", "I;16", "F"):
        return "L"
    return "RGBA" if mode in ("RGBA", "LA", "PA") else "RGB"


@dataclass(frozen=True)
class DataTransform:
    """`transform_param`: minus the mean, times the scale, the middle of the image; nothing is mirrored."""

    scale: np.float32
    crop: int
    mean: NDArray[np.float32] | None
    values: NDArray[np.float32] | None
    color: bool
    gray: bool

    @classmethod
    def of(cls, node: Node) -> DataTransform:
        """Of a data layer. Raises AM665 where fields contradict each other, AM310 to AM312 for a mean file."""
        given = params(node, "transform_param")
        values = np.array(given.mean_value, np.float32) if len(given.mean_value) else None
        if given.mean_file and values is not None:
            message = f"layer `{node.name}` gives both `mean_file` and `mean_value`"
            raise refusal("AM665", message, help="keep one of them")
        mean = read_mean_image(str(Path(given.mean_file))) if given.mean_file else None
        return cls(np.float32(given.scale), given.crop_size, mean, values, given.force_color, given.force_gray)

    def shape(self, image: Shape) -> Shape:
        """Of the result for an image [channels, height, width]. Raises `CaffeError` (AM665) where it does not fit."""
        channels, height, width = image
        if self.crop > min(height, width):
            raise refusal("AM665", f"`crop_size` is {self.crop}, an image has only {height} x {width} pixels")
        if self.mean is not None and self.mean.shape != image:
            raise refusal("AM665", f"the mean image has the shape {self.mean.shape}, an image {image}")
        if self.values is not None and self.values.size not in (1, channels):
            raise refusal("AM665", f"there are {self.values.size} `mean_value` for images of {channels} channels")
        return (channels, self.crop, self.crop) if self.crop else image

    def apply(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """The transformed image, float32. Raises as `shape` does."""
        _, height, width = self.shape(image.shape)
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        found = image[window].astype(np.float32)
        if self.mean is not None:
            found -= self.mean[window]
        elif self.values is not None:
            found -= self.values.reshape(-1, 1, 1)
        return found * self.scale
