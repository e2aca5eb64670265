"""A caffemodel as arrays by layer name. Structure comes from the prototxt alone.

The file is walked where it lies; only the numbers of the blobs are copied, once each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from amctc.diagnostics import error
from amctc.dialects.caffe.blob_proto import DAMAGED, read_blob
from amctc.ir.node import Array
from amctc.text.files import map_file
from amctc.text.wire import LEN, WireError, string, walk

_HDF5 = b"\x89HDF\r\n\x1a\n"

V1_LAYERS, LAYERS = 2, 100
"""Field numbers of a `NetParameter`."""
NAME_AND_BLOBS = {LAYERS: (1, 7), V1_LAYERS: (4, 6)}
"""Where a layer of each form has its name and its blobs."""
V0_LAYER, V0_NAME_AND_BLOBS = 1, (1, 50)
"""A V0 layer lies inside a V1 layer."""


def read_weights(path: str | Path) -> Mapping[str, tuple[Array, ...]]:
    """The blobs of every layer of a caffemodel (V0, V1 or V2), by layer name, in the file's order.

    Arrays are float32 (`double_data` too), int8, int32 or uint64, in the blob's own shape. Raises
    `DiagnosticError`: AM310 unreadable file, AM311 not a caffemodel, AM312 a blob whose numbers are
    cut off or do not fill its shape.
    """
    data = map_file(path)
    if bytes(data[: len(_HDF5)]) == _HDF5:
        help = "load it in Caffe and write it again: `caffe.Net(model, weights, caffe.TEST).save('net.caffemodel')`"
        raise error("AM311", "this is a weights file in HDF5, which is not read", file=str(path), help=help)
    try:
        found = {name: _read_blobs(name, blobs, path) for name, blobs in _layers(data)}
    except WireError as problem:
        help = "the file is damaged or cut off, or it is not a caffemodel"
        message = f"this is not a readable caffemodel: {problem}"
        raise error("AM311", message, file=str(path), help=help) from None
    if not found:
        raise error("AM311", "this file holds no Caffe layers", file=str(path))
    return found


def _layers(data: memoryview) -> Iterator[tuple[str, list[memoryview]]]:
    for field in walk(data):
        if field.number not in NAME_AND_BLOBS or field.kind != LEN:
            continue
        inner = list(walk(field.payload))
        name, blobs = NAME_AND_BLOBS[field.number]
        v0 = [part for part in inner if part.number == V0_LAYER and part.kind == LEN]
        if field.number == V1_LAYERS and v0:
            inner = [part for layer in v0 for part in walk(layer.payload)]
            name, blobs = V0_NAME_AND_BLOBS
        names = [string(part.payload) for part in inner if part.number == name and part.kind == LEN]
        yield names[-1] if names else "", [p.payload for p in inner if p.number == blobs and p.kind == LEN]


def _read_blobs(layer: str, blobs: list[memoryview], path: str | Path) -> tuple[Array, ...]:
    found: list[Array] = []
    for index, blob in enumerate(blobs):
        where = f"blob {index} of layer `{layer}`"
        try:
            found.append(read_blob(blob))
        except WireError as problem:
            raise error("AM312", f"{where} is damaged: {problem}", file=str(path), help=DAMAGED) from None
        except ValueError as problem:
            raise error("AM312", f"{where} {problem}", file=str(path), help=DAMAGED) from None
    return tuple(found)
