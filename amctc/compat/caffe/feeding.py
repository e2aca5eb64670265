"""Layers that read their data themselves: what they put into their tops at every forward pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.compat.caffe.errors import CaffeValueError, as_caffe_errors
from amctc.diagnostics import Diagnostic
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.training.data_layers import BatchSource, open_source
from amctc.training.memory_data import MemorySource


class SourceFeeder:
    """Fills the tops of one data layer, batch after batch."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source
        self.next_number = 0
        """Of the batch that comes next."""

    def shapes(self) -> tuple[Shape, ...]:
        """Of the tops."""
        return self._source.shapes

    def next_batch(self) -> tuple[NDArray[np.float32], ...]:
        """For the tops; after the last sample the first comes again. Raises `CaffeError`."""
        with as_caffe_errors():
            made = self._source.batch(self.next_number)
        self.next_number += 1
        return made


class MemoryFeeder(SourceFeeder):
    """A MemoryData layer: the arrays that `net.set_input_arrays` gives."""

    def __init__(self, node: Node, memory: MemorySource | None = None) -> None:
        self._memory = memory if memory is not None else MemorySource(node)
        super().__init__(self._memory)
        self._name = node.name
        self._tops = [value.blob for value in node.outputs]

    def set_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Begin anew with these arrays: as many labels as images, a multiple of the batch size.

        Raises `CaffeValueError` (AM666) where they do not fit.
        """
        images, classes = np.asarray(data), np.asarray(labels)
        batch, *image = self._memory.shapes[0]
        if images.dtype != np.float32 or classes.dtype != np.float32:
            raise _bad_arrays("`set_input_arrays` takes arrays of float32: `x.astype(np.float32)`")
        if images.ndim != 4 or list(images.shape[1:]) != image:
            raise _bad_arrays(f"layer `{self._name}` takes images of the shape {tuple(image)}, not {images.shape[1:]}")
        if len(images) == 0 or len(images) % batch:
            raise _bad_arrays(f"{len(images)} images are no multiple of the batch size {batch}")
        if classes.size != len(images):
            raise _bad_arrays(f"there are {classes.size} labels for {len(images)} images")
        self._memory.give(dict(zip(self._tops, (images, classes.reshape(-1)), strict=False)))
        self.next_number = 0


def feeders(graph: Graph) -> dict[str, SourceFeeder]:
    """For every data layer of a graph what feeds it, by the layer's name; Input layers are fed by the script.

    Samples come in their order, and nothing is cropped or mirrored at random. Raises `CaffeError`: AM662 for a kind of
    data that is not read, AM663 to AM665 for a database, AM930 and AM931 for HDF5 files.
    """
    found: dict[str, SourceFeeder] = {}
    for node in graph.nodes:
        if op_def(node).source and node.type != "Input":
            with as_caffe_errors():
                found[node.name] = _feeder(node)
    return found


def _feeder(node: Node) -> SourceFeeder:
    return MemoryFeeder(node) if node.type == "MemoryData" else SourceFeeder(open_source(node, None))


def _bad_arrays(message: str) -> CaffeValueError:
    return CaffeValueError(Diagnostic("AM666", message))
