"""Image files to arrays, as scikit-image and OpenCV read them for Caffe; decoded by Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.runtime.images import MAX_PIXELS, require_pillow
from amctc.runtime.resizing import bilinear

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Those of Pillow's decoders that are asked: what OpenCV and scikit-image read too."""

_GREY = np.array([0.2125, 0.7154, 0.0721])
"""Red, green and blue in luminance (Rec. 709), as scikit-image has them."""

_DEEP = {"I;16", "I;16B", "I;16L", "I;16N", "I"}


def read_unit_range(filename: str, *, color: bool) -> NDArray[np.float32]:
    """The image as float32 [height, width, channels] in 0 … 1: RGB, or one channel without `color`.

    Raises `DiagnosticError` (AM670) for a file that is not a readable image, AM445 without Pillow.
    """
    image = _pixels(filename)
    largest = 255 if image.dtype == np.uint8 else 65535
    unit = image.astype(np.float64) / largest
    if unit.ndim == 2:
        unit = unit[:, :, np.newaxis]
        return np.tile(unit, (1, 1, 3) if color else (1, 1, 1)).astype(np.float32)
    rgb = unit[:, :, :3]
    return (rgb if color else (rgb @ _GREY)[:, :, np.newaxis]).astype(np.float32)


def read_bgr(filename: str, size: tuple[int, int], *, color: bool) -> NDArray[np.uint8]:
    """The image as uint8 [channels, height, width], BGR or grey, resized to (height, width) where that is not (0, 0).

    Resized as OpenCV does it: bilinear, without smoothing, edges repeated. Raises as `read_unit_range` does.
    """
    image = _pixels(filename, "RGB" if color else "L")
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if min(size) > 0:
        image = np.rint(bilinear(image.astype(np.float64), size, edges="repeat")).astype(np.uint8)
    return np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))


def _pixels(filename: str, mode: str | None = None) -> NDArray[Any]:
    require_pillow()
    from PIL import Image

    try:
        with Image.open(filename, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"it has more than {MAX_PIXELS} pixels")
            if mode is None and image.mode in _DEEP:
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image.convert(mode or _mode(image)), np.uint8)
    except FileNotFoundError:
        raise error("AM670", f"there is no image `{filename}`", file=filename) from None
    except Exception as problem:  # a damaged file makes Pillow's decoders raise nearly anything
        reason = (getattr(problem, "strerror", None) or str(problem) or type(problem).__name__).split("\n", 1)[0]
        raise error("AM670", f"the image `{filename}` cannot be read: {reason}", file=filename) from None


def _mode(image: Any) -> str:
    if image.mode in ("1", "L"):
        return "L"
    return "RGBA" if "A" in image.mode or "transparency" in image.info else "RGB"
