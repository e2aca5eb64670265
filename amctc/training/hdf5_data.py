"""HDF5Data layers: the rows of the arrays of HDF5 files, read by h5py, which is an extra."""

from __future__ import annotations

import importlib
import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.caffe.blobs import MOST_ELEMENTS
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.text.files import read_text
from amctc.training.places import Locate, as_written
from amctc.training.sample_order import Draws, SampleOrder

MOST_FILES: Final = 100_000
"""Of one list: each is opened once to count its rows."""


def require_h5py() -> Any:
    """The module `h5py`, or `DiagnosticError` (AM931) that says how to install it."""
    try:
        return importlib.import_module("h5py")
    except ImportError:
        message = "reading HDF5 files needs the package `h5py`, which is not installed"
        raise error("AM931", message, help="pip install 'amctc[hdf5]'") from None


class Hdf5Source:
    """An HDF5Data layer: `source` lists files, each with an array for every top, first axis = samples.

    The rows come file after file, round and round; with `shuffle` in an order of its own each round. Raises
    `DiagnosticError`: AM930 for files or arrays that do not fit, AM931 without h5py.
    """

    def __init__(self, node: Node, draws: Draws | None, locate: Locate = as_written) -> None:
        param = params(node, "hdf5_data_param")
        self._layer = node.name
        self._tops = [value.blob for value in node.outputs]
        if "transform_param" in node.attrs:
            message = f"layer `{node.name}` of type HDF5Data has a `transform_param`, and Caffe transforms no HDF5 data"
            raise error("AM930", message, help="leave it out; the arrays hold what the net takes")
        require_h5py()
        lines = read_text(locate(str(param.source))).text.split()
        if not 0 < len(lines) <= MOST_FILES:
            message = f"the list `{param.source}` names {len(lines)} files, and 1 to {MOST_FILES} can be read"
            raise error("AM930", message, file=str(param.source))
        self._files = [locate(line) for line in lines]
        self._samples: tuple[Shape, ...] = ()
        counts = [self._count(file) for file in self._files]
        self._ends = np.cumsum(counts)
        self._size = int(param.batch_size)
        numbers = self._size * max(map(math.prod, self._samples))
        if not 0 < numbers <= MOST_ELEMENTS:
            raise error("AM930", f"layer `{node.name}`: a batch of {self._size} rows has {numbers} numbers")
        self._order = SampleOrder(int(self._ends[-1]), 0, draws if param.shuffle else None)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple((self._size, *sample) for sample in self._samples)

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        made = tuple(np.empty(shape, np.float32) for shape in self.shapes)
        rows = np.asarray(self._order.batch(number, self._size))
        files = np.searchsorted(self._ends, rows, side="right")
        for index in np.unique(files):
            places = np.flatnonzero(files == index)
            before = int(self._ends[index - 1]) if index else 0
            # h5py takes rows in rising order, each once.
            wanted, back = np.unique(rows[places] - before, return_inverse=True)
            with _opened(self._files[index]) as file:
                for array, top in zip(made, self._tops, strict=True):
                    array[places] = np.asarray(file[top][wanted], np.float32)[back]
        return made

    def _count(self, path: Path) -> int:
        """How many rows the arrays of a file have; their shapes must be those of the files before."""
        with _opened(path) as file:
            for top in self._tops:
                if top not in file or not hasattr(file[top], "dtype") or file[top].dtype.kind not in "biuf":
                    raise self._misfit(path, f"has no array of numbers `{top}`")
            shapes = [tuple(int(side) for side in file[top].shape) for top in self._tops]
        counts = {shape[0] for shape in shapes if shape}
        if len(counts) != 1 or any(not shape for shape in shapes) or 0 in counts:
            raise self._misfit(path, f"has arrays of different lengths: {', '.join(map(str, shapes))}")
        samples = tuple(shape[1:] for shape in shapes)
        if self._samples and samples != self._samples:
            raise self._misfit(path, f"has rows of the shapes {samples}, the first file {self._samples}")
        self._samples = samples
        return counts.pop()

    def _misfit(self, path: Path, what: str) -> DiagnosticError:
        help = "each file has an array for every top of the layer, with one row for each sample"
        return error("AM930", f"layer `{self._layer}`: `{path}` {what}", file=str(path), help=help)


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    h5py = require_h5py()
    try:
        with h5py.File(str(path), "r") as file:
            yield file
    except (OSError, RuntimeError, ValueError, KeyError) as problem:
        reason = str(problem).split("\n", 1)[0] or type(problem).__name__
        raise error("AM930", f"the HDF5 file `{path}` cannot be read: {reason}", file=str(path)) from None
