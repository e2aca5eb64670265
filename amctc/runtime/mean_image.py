"""Mean images: Caffe's `.binaryproto` files, or `.npy`, subtracted from samples pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.ir.node import Array
from amctc.runtime.arrays import open_npy
from amctc.runtime.preprocess_steps import MeanImage

MAX_NUMBERS = 1 << 28
"""Of a mean image: those of the largest image that is read, in four channels."""


def read_mean_image(path: str) -> NDArray[np.float32]:
    """The mean image of a file, float32 [channels, height, width].

    A name that ends in `.npy` is NumPy's, any other a serialized `BlobProto`; the array may have a
    first axis of length 1. Raises `DiagnosticError`: AM310 to AM312 for a blob that cannot be read,
    AM441 and AM442 for a `.npy` file, AM402 for another number of axes, AM404 for NaN or Inf.
    """
    array = _read(path)
    shape = array.shape[1:] if array.ndim == 4 and array.shape[0] == 1 else array.shape
    if len(shape) != 3 or array.size == 0:
        message = f"a mean image has the shape (channels, height, width), this one {array.shape}"
        raise error("AM402", message, file=path)
    if array.size > MAX_NUMBERS:
        raise error("AM402", f"a mean image has at most {MAX_NUMBERS} numbers, this one {array.size}", file=path)
    with np.errstate(over="ignore"):
        image = np.array(array.reshape(shape), np.float32, order="C")
    if not np.isfinite(image).all():
        channel, row, column = (int(place) for place in np.argwhere(~np.isfinite(image))[0])
        value = float(image[channel, row, column])
        message = f"the mean image holds {value} as float32, at channel {channel}, row {row}, column {column}"
        raise error("AM404", message, file=path)
    return image


def mean_for(step: MeanImage, sample: tuple[int, ...], *, channels_last: bool) -> NDArray[np.float32]:
    """What is to be subtracted from samples of a shape, in that shape.

    A larger mean image gives its middle, with the offsets (side - wanted) // 2: Caffe's data
    transformer subtracts the mean of the whole image from its crop, which is the middle in the TEST
    phase. Raises `DiagnosticError` (AM447) where the channels differ or a side is smaller.
    """
    image = step.image if step.image is not None else read_mean_image(step.path)
    wanted = (sample[-1], *sample[:-1]) if channels_last else sample
    if len(wanted) != 3 or wanted[0] != image.shape[0] or wanted[1] > image.shape[1] or wanted[2] > image.shape[2]:
        raise error(
            "AM447",
            f"the mean image `{step.path}` has the shape {image.shape}, the samples have {wanted}",
            step.span,
            help="it needs as many channels as the samples and sides at least as long: then its middle is used",
        )
    _, height, width = wanted
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    middle = image[:, top : top + height, left : left + width]
    return middle.transpose(1, 2, 0) if channels_last else middle


def _read(path: str) -> Array:
    if path.lower().endswith(".npy"):
        return open_npy(Path(path))
    from amctc.dialects.caffe.blob_proto import read_blob_file

    return read_blob_file(path)
