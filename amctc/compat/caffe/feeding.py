"""Layers that read their data themselves: what they put into their tops at every forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.compat.caffe.blobs import MOST_NUMBERS
from amctc.compat.caffe.datum import DataTransform, datum_array, parse_datum
from amctc.compat.caffe.errors import CaffeValueError, as_caffe_errors, refusal
from amctc.compat.caffe.image_files import read_bgr
from amctc.diagnostics import Diagnostic
from amctc.dialects.caffe.params import params
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.runtime.lmdb_files import LmdbRecord, LmdbRecords
from amctc.text.files import read_text

_LMDB = 1
_REFUSED = {
    "HDF5Data": "HDF5 files",
    "WindowData": "windows of images",
    "AnnotatedData": "a database with boxes",
}


class Feeder(Protocol):
    """Fills the tops of one data layer."""

    def shapes(self) -> tuple[Shape, ...]:
        """Of the tops."""
        ...

    def next_batch(self) -> tuple[NDArray[np.float32], ...]:
        """For the tops; after the last sample the first comes again."""
        ...


def feeders(graph: Graph) -> dict[str, Feeder]:
    """For every data layer of a graph what feeds it, by the layer's name; Input layers are fed by the script.

    Raises `CaffeError`: AM662 for a kind of data that is not read, AM663 to AM665 for a database.
    """
    found: dict[str, Feeder] = {}
    for node in graph.nodes:
        if op_def(node).source and node.type != "Input":
            with as_caffe_errors():
                found[node.name] = _feeder(node)
    return found


def _feeder(node: Node) -> Feeder:
    match node.type:
        case "Data":
            return DatabaseFeeder(node)
        case "ImageData":
            return ImageListFeeder(node)
        case "MemoryData":
            return MemoryFeeder(node)
        case type:
            what = f" ({_REFUSED[type]})" if type in _REFUSED else ""
            message = f"layer `{node.name}` of type {type} reads data{what} that are not read here"
            help = "put an Input layer in its place and feed it: `net.blobs['data'].data[...] = x`"
            raise refusal("AM662", message, help=help)


_Sample: TypeAlias = tuple[NDArray[Any], float, str]
"""An image, its label, and words that name it in messages."""


class _Samples:
    """What the layers with a list of samples share: the shape of the first counts for all of a batch."""

    def __init__(self, node: Node, batch_size: int, first: NDArray[Any]) -> None:
        self.name = node.name
        self.tops = len(node.outputs)
        self.transform = DataTransform.of(node)
        self.batch_size = batch_size
        self.image = self.transform.shape(first.shape)
        numbers = batch_size * self.image[0] * self.image[1] * self.image[2]
        if not 0 < numbers <= MOST_NUMBERS:
            raise refusal("AM665", f"layer `{node.name}`: a batch of {batch_size} images has {numbers} numbers")

    def shapes(self) -> tuple[Shape, ...]:
        return ((self.batch_size, *self.image), (self.batch_size,))[: self.tops]

    def batch(self, samples: Iterator[_Sample]) -> tuple[NDArray[np.float32], ...]:
        images = np.empty((self.batch_size, *self.image), np.float32)
        labels = np.empty(self.batch_size, np.float32)
        for index, (image, label, where) in enumerate(samples):
            made = self.transform.apply(image)
            if made.shape != self.image:
                message = f"layer `{self.name}`: {where} has the shape {made.shape}, the first one {self.image}"
                raise refusal("AM665", message, help="all images of a batch have one shape: set `crop_size`")
            images[index] = made
            labels[index] = label
        return (images, labels)[: self.tops]


class DatabaseFeeder:
    """A Data layer: the records of an LMDB in order, round and round. Raises AM662 for LevelDB, AM663 to AM665."""

    def __init__(self, node: Node) -> None:
        param = params(node, "data_param")
        self._where = str(param.source)
        if param.backend != _LMDB:
            message = f"layer `{node.name}` reads the LevelDB `{self._where}`, which is not read here"
            help = "convert it to an LMDB, and say `backend: LMDB`"
            raise refusal("AM662", message, help=help)
        self._color = bool(param.force_encoded_color)
        self._records = LmdbRecords(self._where)
        given = params(node, "transform_param")
        self._color, self._gray = self._color or given.force_color, given.force_gray
        first = self._sample(self._records.first())[0]
        self._samples = _Samples(node, int(param.batch_size), first)

    def shapes(self) -> tuple[Shape, ...]:
        return self._samples.shapes()

    def next_batch(self) -> tuple[NDArray[np.float32], ...]:
        with as_caffe_errors():
            taken = self._records.take(self._samples.batch_size)
            return self._samples.batch(self._sample(record) for record in taken)

    def _sample(self, record: LmdbRecord) -> _Sample:
        where = f"record `{record.name}` of `{self._where}`"
        datum = parse_datum(record.value, where)
        return datum_array(datum, where, color=self._color, gray=self._gray), datum.label, where


class ImageListFeeder:
    """An ImageData layer: the images of a list of lines `file label`, in order, round and round."""

    def __init__(self, node: Node) -> None:
        param = params(node, "image_data_param")
        self._color = bool(param.is_color)
        self._size = (int(param.new_height), int(param.new_width))
        self._files = tuple(_listed(str(param.source), str(param.root_folder)))
        if not self._files:
            raise refusal("AM665", f"the list `{param.source}` of layer `{node.name}` names no image")
        self._next = 0
        first = self._sample(*self._files[0])[0]
        self._samples = _Samples(node, int(param.batch_size), first)

    def shapes(self) -> tuple[Shape, ...]:
        return self._samples.shapes()

    def next_batch(self) -> tuple[NDArray[np.float32], ...]:
        with as_caffe_errors():
            found = self._samples.batch(self._sample(*self._take()) for _ in range(self._samples.batch_size))
        return found

    def _take(self) -> tuple[str, float]:
        taken = self._files[self._next]
        self._next = (self._next + 1) % len(self._files)
        return taken

    def _sample(self, file: str, label: float) -> _Sample:
        return read_bgr(file, self._size, color=self._color), label, f"image `{file}`"


def _listed(source: str, root: str) -> Iterator[tuple[str, float]]:
    text = read_text(source).text
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.rpartition(" ")
        try:
            yield f"{root}{name}", float(int(label))
        except ValueError:
            message = f"line {number} of the list `{source}` is not a file name and a whole number"
            raise refusal("AM665", message, file=source, help="write `images/cat.jpg 3`") from None


class MemoryFeeder:
    """A MemoryData layer: the arrays that `net.set_input_arrays` gives, batch after batch, round and round."""

    def __init__(self, node: Node) -> None:
        self._name = node.name
        self._shapes = op_def(node).infer(node, ())
        self._arrays: tuple[NDArray[np.float32], ...] = ()
        self._next = 0

    def shapes(self) -> tuple[Shape, ...]:
        return self._shapes

    def set_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Begin anew with these arrays: as many labels as images, a multiple of the batch size.

        Raises `CaffeValueError` (AM666) where they do not fit.
        """
        images, classes = np.asarray(data), np.asarray(labels)
        batch, *image = self._shapes[0]
        if images.dtype != np.float32 or classes.dtype != np.float32:
            raise _bad_arrays("`set_input_arrays` takes arrays of float32: `x.astype(np.float32)`")
        if images.ndim != 4 or list(images.shape[1:]) != image:
            raise _bad_arrays(f"layer `{self._name}` takes images of the shape {tuple(image)}, not {images.shape[1:]}")
        if len(images) == 0 or len(images) % batch:
            raise _bad_arrays(f"{len(images)} images are no multiple of the batch size {batch}")
        if classes.size != len(images):
            raise _bad_arrays(f"there are {classes.size} labels for {len(images)} images")
        self._arrays, self._next = (images, classes.reshape(-1)), 0

    def next_batch(self) -> tuple[NDArray[np.float32], ...]:
        if not self._arrays:
            message = f"layer `{self._name}` of type MemoryData has no data yet"
            raise refusal("AM666", message, help="call `net.set_input_arrays(images, labels)` first")
        images, labels = self._arrays
        chosen = slice(self._next, self._next + self._shapes[0][0])
        self._next = chosen.stop % len(images)
        return _for_tops((images[chosen], labels[chosen]), self._shapes)


def _for_tops(arrays: Sequence[NDArray[np.float32]], shapes: Sequence[Shape]) -> tuple[NDArray[np.float32], ...]:
    return tuple(array.reshape(shape) for array, shape in zip(arrays, shapes, strict=False))


def _bad_arrays(message: str) -> CaffeValueError:
    return CaffeValueError(Diagnostic("AM666", message))
