"""Datum records of Caffe's databases as arrays."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.dialects.caffe.schema import caffe_schema
from amctc.runtime.caffe_images import IMAGE_FORMATS
from amctc.runtime.images import MAX_PIXELS, require_pillow


def parse_datum(data: bytes, where: str) -> Any:
    """A serialized Datum; `where` are words for messages. Raises `DiagnosticError` (AM665) for what is none."""
    datum: Any = caffe_schema().message("caffe.Datum")()
    try:
        datum.ParseFromString(data)
    except DecodeError:
        raise error("AM665", f"{where} is no Datum", help="write it with Caffe's tools") from None
    return datum


def datum_array(datum: Any, where: str, *, color: bool = False, gray: bool = False) -> NDArray[Any]:
    """The image of a Datum, uint8 or float32 [channels, height, width]; an encoded one is decoded, to BGR.

    Raises `DiagnosticError` (AM665) where the numbers do not fill the shape or the image cannot be decoded.
    """
    if datum.encoded:
        return _decoded(datum.data, where, color=color, gray=gray)
    shape = (datum.channels, datum.height, datum.width)
    flat: NDArray[Any] = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or flat.size != shape[0] * shape[1] * shape[2]:
        raise error("AM665", f"{where} has the shape {shape} and {flat.size} numbers")
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
        raise error("AM665", f"the image in {where} cannot be decoded: {reason}") from None
    if pixels.ndim == 2:
        return pixels[np.newaxis]
    order = [2, 1, 0, *range(3, pixels.shape[2])]
    return np.ascontiguousarray(pixels[:, :, order].transpose(2, 0, 1))


def _mode(mode: str) -> str:
    """What OpenCV would give for an image of one of Pillow's modes: grey, BGR, or BGR and alpha."""
    if mode in ("1", "L", "I", "I;16", "F"):
        return "L"
    return "RGBA" if mode in ("RGBA", "LA", "PA") else "RGB"
