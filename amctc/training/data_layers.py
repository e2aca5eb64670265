"""Layers that read data themselves, for training: what each batch puts into their tops, by the batch's number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import error
from amctc.dialects.caffe.blobs import MOST_ELEMENTS
from amctc.dialects.caffe.params import params
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.runtime.caffe_images import read_bgr
from amctc.runtime.datum import datum_array, parse_datum
from amctc.runtime.lmdb_files import LmdbRecord, LmdbRecords
from amctc.text.files import read_text
from amctc.training.data_transform import DataTransform
from amctc.training.hdf5_data import Hdf5Source
from amctc.training.memory_data import MemorySource
from amctc.training.places import Locate, as_written
from amctc.training.prefetch import Prefetched
from amctc.training.sample_order import Draws, SampleOrder

_LMDB = 1
_REFUSED = {"WindowData": "windows of images", "AnnotatedData": "a database with boxes"}
_FROM_MEMORY = ("MemoryData", "Input")


class BatchSource(Protocol):
    """Fills the tops of one data layer."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the tops, for a batch."""
        ...

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """For the tops; batches count from 0, and after the last sample the first comes again.

        Batches may be asked for in any order; in their own it is cheapest.
        """
        ...


def open_sources(
    graph: Graph,
    *,
    seed: int | None,
    arrays: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    locate: Locate = as_written,
) -> dict[str, BatchSource]:
    """What fills each data layer of a graph, by the layer's name.

    `arrays` are the data of MemoryData and Input layers, by layer and top. With `seed`, samples are shuffled, passed
    over, cropped and mirrored at random where the layers say so; without, nothing is random. Batches of files are read
    ahead. Raises `DiagnosticError`:
    AM662 for a kind of data that is not read, AM663 to AM666 and AM670 for data that do not fit, AM931 without h5py.
    """
    found: dict[str, BatchSource] = {}
    for node in graph.nodes:
        if op_def(node).source:
            draws = Draws(seed, node.name) if seed is not None else None
            given = (arrays or {}).get(node.name)
            source = open_source(node, draws, given, locate)
            found[node.name] = source if isinstance(source, MemorySource) else Prefetched(source)
    return found


def open_source(
    node: Node, draws: Draws | None, arrays: Mapping[str, ArrayLike] | None = None, locate: Locate = as_written
) -> BatchSource:
    """What fills one data layer; see `open_sources`."""
    match node.type:
        case "Data":
            return DatabaseSource(node, draws, locate)
        case "ImageData":
            return ImageListSource(node, draws, locate)
        case "HDF5Data":
            return Hdf5Source(node, draws, locate)
        case type if type in _FROM_MEMORY:
            return MemorySource(node, arrays)
        case type:
            what = f" ({_REFUSED[type]})" if type in _REFUSED else ""
            message = f"layer `{node.name}` of type {type} reads data{what} that are not read here"
            help = "put an Input layer in its place and feed it: `net.blobs['data'].data[...] = x`"
            raise error("AM662", message, help=help)


def feeds_of(graph: Graph, sources: Mapping[str, BatchSource], number: int) -> dict[str, NDArray[np.float32]]:
    """What the data layers put into their blobs for a batch, by blob."""
    return {
        value.blob: array
        for name, source in sources.items()
        for value, array in zip(graph.node(name).outputs, source.batch(number), strict=True)
    }


_Sample: TypeAlias = tuple[NDArray[Any], float, str]
"""An image, its label, and words that name it in messages."""


class _Samples:
    """What the layers with a list of samples share: the shape of the first counts for all of a batch."""

    def __init__(self, node: Node, batch_size: int, first: NDArray[Any], draws: Draws | None, locate: Locate) -> None:
        self.name = node.name
        self.tops = len(node.outputs)
        self.transform = DataTransform.of(node, locate)
        self.batch_size = batch_size
        self.draws = draws
        self.image = self.transform.shape(first.shape)
        numbers = batch_size * self.image[0] * self.image[1] * self.image[2]
        if not 0 < numbers <= MOST_ELEMENTS:
            raise error("AM665", f"layer `{node.name}`: a batch of {batch_size} images has {numbers} numbers")

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return ((self.batch_size, *self.image), (self.batch_size,))[: self.tops]

    def batch(self, number: int, samples: Iterable[_Sample]) -> tuple[NDArray[np.float32], ...]:
        images = np.empty((self.batch_size, *self.image), np.float32)
        labels = np.empty(self.batch_size, np.float32)
        draw = self.draws.of_batch(number) if self.draws is not None else None
        for index, (image, label, where) in enumerate(samples):
            made = self.transform.apply(image, draw)
            if made.shape != self.image:
                message = f"layer `{self.name}`: {where} has the shape {made.shape}, the first one {self.image}"
                raise error("AM665", message, help="all images of a batch have one shape: set `crop_size`")
            images[index] = made
            labels[index] = label
        return (images, labels)[: self.tops]


class DatabaseSource:
    """A Data layer: the records of an LMDB in order, round and round. Raises AM662 for LevelDB, AM663 to AM665."""

    def __init__(self, node: Node, draws: Draws | None, locate: Locate = as_written) -> None:
        param = params(node, "data_param")
        self._where = str(param.source)
        if param.backend != _LMDB:
            message = f"layer `{node.name}` reads the LevelDB `{self._where}`, which is not read here"
            help = "convert it to an LMDB, and say `backend: LMDB`"
            raise error("AM662", message, help=help)
        self._records = LmdbRecords(locate(self._where))
        given = params(node, "transform_param")
        self._color = bool(param.force_encoded_color or given.force_color)
        self._gray = bool(given.force_gray)
        first = self._sample(self._records.first())[0]
        self._samples = _Samples(node, int(param.batch_size), first, draws, locate)
        self._first = draws.skipped(int(param.rand_skip)) if draws is not None else 0

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self._samples.shapes

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        size = self._samples.batch_size
        self._records.go_to(self._first + number * size)
        return self._samples.batch(number, map(self._sample, self._records.take(size)))

    def _sample(self, record: LmdbRecord) -> _Sample:
        where = f"record `{record.name}` of `{self._where}`"
        datum = parse_datum(record.value, where)
        return datum_array(datum, where, color=self._color, gray=self._gray), datum.label, where


class ImageListSource:
    """An ImageData layer: the images of a list of lines `file label`, round and round; AM665 and AM670."""

    def __init__(self, node: Node, draws: Draws | None, locate: Locate = as_written) -> None:
        param = params(node, "image_data_param")
        self._color = bool(param.is_color)
        self._size = (int(param.new_height), int(param.new_width))
        self._files = tuple(_listed(str(locate(str(param.source))), str(param.root_folder)))
        self._locate = locate
        if not self._files:
            raise error("AM665", f"the list `{param.source}` of layer `{node.name}` names no image")
        skipped = draws.skipped(int(param.rand_skip)) if draws is not None else 0
        self._order = SampleOrder(len(self._files), skipped, draws if param.shuffle else None)
        first = self._sample(0)[0]
        self._samples = _Samples(node, int(param.batch_size), first, draws, locate)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return self._samples.shapes

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        chosen = self._order.batch(number, self._samples.batch_size)
        return self._samples.batch(number, map(self._sample, chosen))

    def _sample(self, index: int) -> _Sample:
        file, label = self._files[index]
        return read_bgr(str(self._locate(file)), self._size, color=self._color), label, f"image `{file}`"


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
            raise error("AM665", message, file=source, help="write `images/cat.jpg 3`") from None
