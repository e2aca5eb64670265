"""The weights of a net as blobs: handed out to be written, and taken into the graph before the next run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from amctc.compat.caffe.blobs import Blob, same_shape
from amctc.compat.caffe.errors import LOG, CaffeError, as_caffe_errors, refusal
from amctc.compat.caffe.modes import random_numbers
from amctc.frontends.caffe.initial_weights import begin_weights
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape


@dataclass
class _Cell:
    """One array of the graph, which several layers may share, and the blobs that show it.

    The graph's own array must not change while a session lives: what is handed out is a copy of it.
    """

    used: Array
    places: list[tuple[Node, str]] = field(default_factory=list[tuple[Node, str]])
    blobs: list[Blob] = field(default_factory=list[Blob])
    handed_out: bool = False

    def hand_out(self) -> None:
        if not self.handed_out:
            self.handed_out = True
            copy = self.used.reshape(-1).copy()
            for blob in self.blobs:
                blob.adopt(copy)


class Parameters:
    """The weights of a graph, by layer.

    `blobs` has the layers that have weights, in their order, each with its blobs in the order of a
    caffemodel; layers that share a parameter show the same memory.
    """

    def __init__(self, graph: Graph, shapes: Mapping[Value, Shape], weights: str | Path | None) -> None:
        self._graph = graph
        self._shapes = shapes
        found = read_weights(weights) if weights is not None else {}
        with as_caffe_errors():
            self._attach(found, str(weights))
        self.blobs: OrderedDict[str, list[Blob]] = OrderedDict()
        self._cells: list[_Cell] = []
        self._cell_of: dict[tuple[Node, str], _Cell] = {}
        self._show()

    def load(self, weights: str | Path) -> None:
        """Copy weights from a caffemodel into the layers of the same names, as Caffe does it.

        Raises `CaffeError` where the file cannot be read (AM310 to AM312) or its blobs do not fit (AM314).
        """
        self.take_in()
        with as_caffe_errors():
            self._attach(read_weights(weights), str(weights))
        fresh = [(cell, cell.places[0][0].weights[cell.places[0][1]]) for cell in self._cells]
        for cell, array in fresh:
            cell.used = array
            if cell.handed_out:
                cell.blobs[0].array()[...] = array.reshape(cell.blobs[0].shape)

    def take_in(self) -> bool:
        """Let the graph compute with what has been written into the blobs; whether anything was.

        Raises `CaffeError` (AM661) for a blob that was given another number of elements.
        """
        changed = False
        for cell in self._cells:
            if not cell.handed_out:
                continue
            now = cell.blobs[0].array().reshape(-1)
            if now.size != cell.used.size:
                node, role = cell.places[0]
                message = f"the {role} of layer `{node.name}` has {cell.used.size} numbers, and now {now.size}"
                raise refusal("AM661", message, help="a layer's weights keep their size; change the prototxt instead")
            if _same_bits(now, cell.used):
                continue
            changed = True
            cell.used = now.copy()
            for node, role in cell.places:
                node.weights[role] = cell.used.reshape(node.weights[role].shape)
        return changed

    def put(self, node: Node, arrays: Mapping[str, Array]) -> None:
        """Write what a layer computed into its blobs, by role, and into those of layers that share them.

        What has been written into the blobs before must have been taken in.
        """
        for role, array in arrays.items():
            cell = self._cell_of[node, role]
            cell.used = array.reshape(-1).copy()
            if cell.handed_out:
                cell.blobs[0].array()[...] = array.reshape(cell.blobs[0].shape)
            for place, own in cell.places:
                place.weights[own] = cell.used.reshape(place.weights[own].shape)

    def sharers(self, node: Node) -> frozenset[Node]:
        """The layers that have a weight of this one, itself among them."""
        return frozenset(other for role in node.weights for other, _ in self._cell_of[node, role].places)

    def share_with(self, others: Mapping[str, Sequence[Blob]]) -> None:
        """Show the memory of the layers of the same names of another net, whose `params` are given.

        Raises `CaffeError` (AM671) where the blobs of two such layers differ.
        """
        pairs: list[tuple[Blob, Blob]] = []
        for name, theirs in others.items():
            ours = self.blobs.get(name)
            if ours is None:
                continue
            if len(ours) != len(theirs):
                raise refusal("AM671", f"layer `{name}` has {len(ours)} blobs here and {len(theirs)} there")
            for index, (own, their) in enumerate(zip(ours, theirs, strict=True)):
                problem = same_shape(own, their, f"blob {index} of layer `{name}`")
                if problem is not None:
                    raise CaffeError(problem)
                pairs.append((own, their))
        for own, their in pairs:
            own.adopt(their.data)

    def _attach(self, found: Mapping[str, tuple[Array, ...]], file: str) -> None:
        """The arrays of a file; layers that it lacks keep what they have, or begin with what their fillers give."""
        lacking = begin_weights(self._graph, self._shapes, found, file, random_numbers())
        if lacking:
            LOG.warning("%s: no weights for %s; they keep what they had", file, ", ".join(lacking))

    def _show(self) -> None:
        cells: dict[tuple[int, int], _Cell] = {}
        for node in self._graph.nodes:
            for role, array in node.weights.items():
                place = (array.__array_interface__["data"][0], array.nbytes)
                cell = cells.setdefault(place, _Cell(array))
                cell.places.append((node, role))
                self._cell_of[node, role] = cell
                blob = Blob(array.shape, array.dtype.name, before=partial(_Cell.hand_out, cell))
                cell.blobs.append(blob)
                self.blobs.setdefault(node.name, []).append(blob)
        self._cells = list(cells.values())


def _same_bits(a: Array, b: Array) -> bool:
    """Equality that holds for NaN too, and tells 0 from -0."""
    word = f"u{a.dtype.itemsize}"
    return np.array_equal(np.ascontiguousarray(a).view(word), np.ascontiguousarray(b).reshape(-1).view(word))
