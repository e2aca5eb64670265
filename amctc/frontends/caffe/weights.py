"""A caffemodel as arrays by layer name. Structure comes from the prototxt alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from amctc.diagnostics import error
from amctc.ir.graph import Array, Shape
from amctc.text.proto_schema import load_schema

MAX_BYTES = 2**31 - 1
"""Protobuf's own limit for one message."""


def read_weights(path: str | Path) -> Mapping[str, tuple[Array, ...]]:
    """The blobs of every layer of a caffemodel, by layer name, in the file's order.

    Arrays are float32, float64 (`double_data`), int8, int32 or uint64, as stored, in the blob's own
    shape. Raises `DiagnosticError`: AM310 unreadable file, AM311 not a caffemodel, AM312 a blob whose
    numbers are cut off or do not fill its shape.
    """
    data = _read_bytes(path)
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    try:
        message.ParseFromString(data)
    except DecodeError:
        help = "the file is damaged or cut off, or it is not a caffemodel"
        raise error("AM311", "this is not a readable caffemodel", file=str(path), help=help) from None
    layers = [*message.layers, *message.layer]
    if not layers:
        raise error("AM311", "this file holds no Caffe layers", file=str(path))
    return {
        layer.name: tuple(_blob(blob, layer.name, index, path) for index, blob in enumerate(layer.blobs))
        for layer in layers
    }


def _read_bytes(path: str | Path) -> bytes:
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise error("AM310", "the file is larger than 2 GiB, which protobuf cannot hold", file=str(path))
        return file.read_bytes()
    except OSError as failure:
        reason = failure.strerror or "unreadable"
        raise error("AM310", f"cannot read this weights file: {reason.lower()}", file=str(path)) from None


def _blob(blob: Any, layer: str, index: int, path: str | Path) -> Array:
    help = "the file is damaged or was cut off"
    try:
        array = _numbers(blob)
    except (DecodeError, ValueError):
        message = f"blob {index} of layer `{layer}` ends in the middle of a number"
        raise error("AM312", message, file=str(path), help=help) from None
    shape = _shape(blob, array.size)
    if min(shape, default=1) < 0 or math.prod(shape) != array.size:
        message = f"blob {index} of layer `{layer}` has the shape {list(shape)} but {array.size} numbers"
        raise error("AM312", message, file=str(path), help=help)
    return array.reshape(shape)


def _numbers(blob: Any) -> Array:
    if blob.double_data:
        return np.frombuffer(b"".join(blob.double_data), "<f8")
    if blob.HasField("int8_data"):
        return np.frombuffer(blob.int8_data, np.int8)
    if blob.int32_data:
        return np.array(blob.int32_data, np.int32)
    if blob.uint64_data:
        return np.array(blob.uint64_data, np.uint64)
    raw = blob.data[0] if len(blob.data) == 1 else b"".join(blob.data)
    if raw and len(raw) % 4 == 0:
        return np.frombuffer(raw, "<f4")
    # A writer that does not pack puts each number under its own tag: read those the slow way.
    unpacked: Any = load_schema("caffe.proto").message("caffe.BlobProto")()
    unpacked.ParseFromString(blob.SerializeToString())
    return np.array(unpacked.data, np.float32)


def _shape(blob: Any, size: int) -> Shape:
    if blob.HasField("shape"):
        return tuple(int(dim) for dim in blob.shape.dim)
    legacy: Sequence[str] = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in legacy):
        return tuple(int(getattr(blob, name)) for name in legacy)
    return (size,)
