"""`caffe.io`: images, blobs and Datum records as arrays, and the Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.compat.caffe.errors import as_caffe_errors, refusal
from amctc.compat.caffe.proto import caffe_pb2
from amctc.compat.caffe.transformer import Transformer
from amctc.runtime.caffe_images import read_unit_range
from amctc.runtime.resizing import bilinear, corners_aligned, nearest, smoothed

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize",
    "resize_image",
]

_LEGACY = ("num", "channels", "height", "width")


def load_image(filename: str, color: bool = True) -> NDArray[np.float32]:
    """An image file as float32 [height, width, channels] in 0 … 1: RGB, or one channel without `color`.

    A grey image gives three equal channels with `color`; alpha is dropped. Raises `CaffeError` (AM670)
    for a file that is not a readable image, AM445 without Pillow.
    """
    with as_caffe_errors():
        return read_unit_range(str(filename), color=color)


def resize_image(im: NDArray[Any], new_dims: Sequence[int], interp_order: int = 1) -> NDArray[np.float32]:
    """An image [height, width, channels] at `new_dims` (height, width), as float32.

    Images of one or three channels are resized as scikit-image 0.16 does it (smoothed before they get
    smaller, zero beyond the edge, within the image's own range), others as SciPy's zoom does.
    `interp_order` is 0 (nearest) or 1 (linear). Raises `CaffeError` (AM670) for another.
    """
    image: NDArray[np.float64] = np.asarray(im, np.float64)
    size = (int(new_dims[0]), int(new_dims[1]))
    if image.ndim != 3 or image.size == 0 or min(size) < 1:
        raise refusal("AM670", f"an image of the shape {image.shape} cannot be resized to {size}")
    if interp_order not in (0, 1):
        message = f"`interp_order={interp_order}` is not done here"
        raise refusal("AM670", message, help="use 1 (linear) or 0 (nearest)")
    if image.shape[-1] not in (1, 3):
        return (nearest(image, size) if interp_order == 0 else corners_aligned(image, size)).astype(np.float32)
    low, high = float(image.min()), float(image.max())
    if not high > low:
        return np.full((size[0], size[1], image.shape[-1]), low, np.float32)
    blunt = smoothed((image - low) / (high - low), size)
    unit = nearest(blunt, size) if interp_order == 0 else bilinear(blunt, size)
    return (unit * (high - low) + low).astype(np.float32)


def resize(image: NDArray[Any], output_shape: Sequence[int], order: int = 1) -> NDArray[np.float32]:
    """`resize_image` under scikit-image's name: an array [height, width] or [height, width, channels]."""
    array = np.asarray(image)
    found = resize_image(array.reshape(*array.shape[:2], -1), output_shape, order)
    return found if array.ndim == 3 else found.reshape(found.shape[:2])


def oversample(images: Sequence[NDArray[Any]], crop_dims: ArrayLike) -> NDArray[np.float32]:
    """Ten crops [10 * images, height, width, channels] of each image: the corners and the middle, then mirrored.

    All images have the shape of the first, [height, width, channels].
    """
    height, width = (int(side) for side in np.asarray(crop_dims).reshape(-1))
    full_height, full_width = np.asarray(images[0]).shape[:2]
    down, right = full_height - height, full_width - width
    if min(height, width) < 1 or min(down, right) < 0:
        message = f"crops of {height} x {width} cannot be taken from images of {full_height} x {full_width}"
        raise refusal("AM670", message)
    corners = [(top, left) for top in (0, down) for left in (0, right)]
    places = [*corners, (int(full_height / 2 - height / 2), int(full_width / 2 - width / 2))]
    crops: list[NDArray[Any]] = []
    for image in images:
        plain = [np.asarray(image)[top : top + height, left : left + width] for top, left in places]
        crops += [*plain, *(crop[:, ::-1] for crop in plain)]
    return np.stack(crops).astype(np.float32)


def blobproto_to_array(blob: Any, return_diff: bool = False) -> NDArray[np.float32]:
    """The numbers of a BlobProto, or its gradients, in its shape."""
    data = np.array(blob.diff if return_diff else blob.data, np.float32)
    if any(blob.HasField(name) for name in _LEGACY):
        return data.reshape([getattr(blob, name) for name in _LEGACY])
    return data.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr: ArrayLike, diff: ArrayLike | None = None) -> Any:
    """A BlobProto of an array of any shape."""
    array = np.asarray(arr)
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(array.shape)
    blob.data.extend(array.astype(float).reshape(-1))
    if diff is not None:
        blob.diff.extend(np.asarray(diff, float).reshape(-1))
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[ArrayLike]) -> bytes:
    """Arrays as a serialized BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.blobs.extend([array_to_blobproto(array) for array in arraylist])
    data: bytes = vector.SerializeToString()
    return data


def blobprotovector_str_to_arraylist(str: bytes) -> list[NDArray[np.float32]]:
    """The arrays of a serialized BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.ParseFromString(str)
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: NDArray[Any], label: int | None = None) -> Any:
    """A Datum of an array [channels, height, width]: bytes of uint8, or else floats. ValueError for another shape."""
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).reshape(-1))
    if label is not None:
        datum.label = int(label)
    return datum


def datum_to_array(datum: Any) -> NDArray[Any]:
    """The array [channels, height, width] of a Datum: uint8, or float for one that holds floats."""
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.data):
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape)
    return np.array(datum.float_data).astype(float).reshape(shape)
