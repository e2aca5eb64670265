"""Image files to float32 arrays, through Pillow; one image is decoded at a time."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.preprocess import PixelStep, Preprocess
from amctc.runtime.preprocess_steps import CenterCrop, Channels, Method, Resize, ResizeShort

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1 << 26

_MEND = "mend the file, or take it away; a glob such as `'folder/*.png'` can leave it out"

_FORMATS = ("JPEG", "PNG", "BMP", "PPM")
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def read_image(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
    """A preprocessed image, float32 [channels, height, width], or [height, width, channels] for `layout=hwc`.

    The file is decoded to 8-bit RGB (alpha dropped, EXIF orientation ignored). Pillow resamples with
    `reducing_gap` off, and so antialiases when it makes an image smaller. Raises `DiagnosticError`:
    AM444 for a file that is not a readable JPEG, PNG, BMP or PPM image or has over `MAX_PIXELS`
    pixels, AM445 without Pillow, AM447 where a step does not fit.
    """
    return preprocess.image_array(_pixels(path, preprocess))


def require_pillow() -> ModuleType:
    """Pillow's `Image` module, or `DiagnosticError` (AM445) that says how to install it."""
    try:
        from PIL import Image
    except ImportError:
        raise error(
            "AM445", "reading images needs Pillow, which is not installed", help="pip install 'amctc[images]'"
        ) from None
    return Image


def _pixels(path: Path, preprocess: Preprocess) -> NDArray[np.uint8]:
    """The image after the pixel steps, uint8 [height, width, channels]."""
    require_pillow()
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check_pixels(path, image.width, image.height)
            if image.mode not in _EIGHT_BIT_MODES:
                raise _unreadable(path, f"its pixels are not 8-bit (Pillow's mode {image.mode})")
            image.load()
            result = _rgb(image)
            for step in preprocess.pixel_steps:
                result = _apply(path, result, step)
            array = np.asarray(result, np.uint8)
    except DiagnosticError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _unreadable(path, f"it has more than {MAX_PIXELS} pixels") from None
    except Exception as problem:  # a damaged file makes Pillow's decoders raise nearly anything
        raise _unreadable(path, _reason(problem)) from None
    return array.reshape(array.shape[0], array.shape[1], -1)


def _rgb(image: Image) -> Image:
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow would warn about the transparency it loses
    return image.convert("RGB")


def _apply(path: Path, image: Image, step: PixelStep) -> Image:
    match step:
        case Resize(width=width, height=height, method=method):
            return _resized(path, image, (width, height), method)
        case ResizeShort(size=size, method=method):
            short = min(image.size)
            width, height = (side * size // short for side in image.size)
            return _resized(path, image, (width, height), method)
        case Channels():
            return image.convert("L")
        case CenterCrop(width=width, height=height):
            left, top = (image.width - width) // 2, (image.height - height) // 2
            if left < 0 or top < 0:
                raise error(
                    "AM447",
                    f"`{step}` does not fit into `{path}`, which has {image.width}x{image.height} pixels there",
                    step.span,
                    help="put `resize` or `resize-short` before it",
                )
            return image.crop((left, top, left + width, top + height))


def _resized(path: Path, image: Image, size: tuple[int, int], method: Method) -> Image:
    from PIL.Image import Resampling

    _check_pixels(path, *size)
    filters = {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC, "nearest": Resampling.NEAREST}
    return image.resize(size, filters[method])


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _unreadable(path, f"{width}x{height} is more than {MAX_PIXELS} pixels")


def _unreadable(path: Path, reason: str) -> DiagnosticError:
    return error("AM444", f"image `{path}` cannot be used: {reason}", file=str(path), help=_MEND)


def _reason(problem: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(problem, UnidentifiedImageError):
        return "it is not a JPEG, PNG, BMP or PPM image"
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return text[:1].lower() + text[1:].rstrip(".")
