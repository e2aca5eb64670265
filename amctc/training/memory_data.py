"""Data that the caller holds: arrays for the tops of MemoryData and Input layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import did_you_mean, error
from amctc.dialects.op import UnknownShape
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.arrays import npz_names, read_npz


class MemorySource:
    """The arrays of one layer, one for each top, batch after batch, round and round.

    `shapes` are those of a batch. An Input layer without a shape takes one sample at a time, of the array's shape.
    """

    def __init__(self, node: Node, arrays: Mapping[str, ArrayLike] | None = None) -> None:
        self._layer = node.name
        self._type = node.type
        self._tops = [value.blob for value in node.outputs]
        try:
            self._shapes: tuple[Shape, ...] = op_def(node).infer(node, ())
        except UnknownShape:
            self._shapes = ()
        self._arrays: tuple[NDArray[Any], ...] = ()
        if arrays is not None:
            self.give(arrays)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the tops, for a batch. Raises `DiagnosticError` (AM666) where neither the layer nor arrays say them."""
        if not self._shapes:
            raise self._unfed()
        return self._shapes

    def give(self, arrays: Mapping[str, ArrayLike]) -> None:
        """Take these arrays, by top, first axis = samples. Raises `DiagnosticError` (AM666) where they do not fit."""
        found: list[NDArray[Any]] = []
        for index, top in enumerate(self._tops):
            if top not in arrays:
                help = did_you_mean(top, arrays) or f"there are {', '.join(f'`{name}`' for name in arrays) or 'none'}"
                raise error("AM666", f"layer `{self._layer}` needs an array for its top `{top}`", help=help)
            array = np.asarray(arrays[top])
            if array.dtype.kind not in "biuf" or array.ndim == 0 or array.size == 0:
                raise error("AM666", f"the array for `{top}` of layer `{self._layer}` has no samples of numbers")
            sample = self._shapes[index][1:] if self._shapes else array.shape[1:]
            if array.size != len(array) * math.prod(sample):
                message = (
                    f"layer `{self._layer}` takes samples of the shape {sample} for `{top}`, not {array.shape[1:]}"
                )
                raise error("AM666", message)
            found.append(array.reshape(len(array), *sample))
        counts = {top: len(array) for top, array in zip(self._tops, found, strict=True)}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{count} for `{top}`" for top, count in counts.items())
            raise error("AM666", f"layer `{self._layer}` was given arrays of different lengths: {told}")
        self._arrays = tuple(found)
        if not self._shapes:
            self._shapes = tuple((1, *array.shape[1:]) for array in found)

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """Batch `number`, float32. Raises `DiagnosticError` (AM666) as long as there are no arrays."""
        if not self._arrays:
            raise self._unfed()
        made: list[NDArray[np.float32]] = []
        for array, shape in zip(self._arrays, self.shapes, strict=True):
            size = shape[0] if shape else 1
            places = (np.arange(size) + number * size % len(array)) % len(array)
            made.append(array[places].astype(np.float32).reshape(shape))
        return tuple(made)

    def _unfed(self) -> Exception:
        message = f"layer `{self._layer}` of type {self._type} has no data yet"
        help = f"give an .npz with an array for each top: `--data {self._layer}=FILE.npz`"
        return error("AM666", message, help=help)


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays of an `.npz` file. Raises `DiagnosticError`: AM440 for none, AM441 and AM442 as `read_npz` does."""
    place = Path(path)
    if not place.is_file():
        raise error("AM440", f"there is no file `{place}`", file=str(place), help="give an .npz file")
    return read_npz(place, npz_names(place))
