"""What lies behind `caffe.Net`: the memory of its blobs, and the runs that fill it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from amctc.compat.caffe.batch_norm import NetBatchNorm
from amctc.compat.caffe.blobs import Blob
from amctc.compat.caffe.calibration import NetCalibration
from amctc.compat.caffe.engine import Engine, is_repeatable
from amctc.compat.caffe.errors import as_caffe_errors
from amctc.compat.caffe.feeding import SourceFeeder
from amctc.compat.caffe.net_layers import output_names
from amctc.compat.caffe.parameters import Parameters
from amctc.compat.caffe.retraining import NetRetraining
from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.ir.node import Shape
from amctc.runtime.executor import blob_values


class Runner:
    """Runs a graph on blobs.

    A run of the whole net computes the outputs, the blobs that somebody holds an array of, and those
    that were looked at since the run before. The others are computed when they are looked at: in a
    second run on the inputs of the last, kept for it. Where that would give something else (layers
    with a memory, code of others), every run computes everything.
    """

    def __init__(
        self, graph: Graph, shapes: Mapping[Value, Shape], feeders: Mapping[str, SourceFeeder], parameters: Parameters
    ) -> None:
        self.graph = graph
        self._engine = Engine(graph)
        self._feeders = feeders
        self._parameters = parameters
        self._last = len(graph) - 1
        self._values = blob_values(graph)
        self.blobs: OrderedDict[str, Blob] = OrderedDict(
            (name, Blob(shapes.get(value, (0,)), value.dtype, before=partial(self._look_at, name)))
            for name, value in self._values.items()
        )
        self.outputs = output_names(graph)
        self._calibration = NetCalibration.of(graph, self._engine)
        self._retraining = NetRetraining.of(graph)
        self._batch_norm = NetBatchNorm.of(graph, self._engine, parameters)
        self._lazy = is_repeatable(graph)
        self._looked_at: set[str] = set()
        self._stale: set[str] = set()
        """Blobs that the last run of the whole net has not computed."""
        self._fed: dict[str, NDArray[Any]] = {}
        """The inputs of the last run of the whole net."""

    def run(self, start: int, end: int, names: Iterable[str]) -> None:
        """Run the layers number `start` to `end`, and compute at least these blobs. Raises `CaffeError`."""
        if (start, end) == (0, self._last):
            self._run_whole(names)
            return
        self.look_at_all()
        self.take_in_weights()
        self._feed(start, end)
        part = self._engine.part(start, end)
        feeds = {name: self.blobs[name].array() for name in part.inputs}
        run = self._engine.run if self._batch_norm is None else self._batch_norm.run_part
        found = run(part, feeds, list(part.results.values()))
        for name, value in part.results.items():
            self.blobs[name].store(found[value])

    def _run_whole(self, names: Iterable[str]) -> None:
        self.take_in_weights()
        self._feed(0, self._last)
        part = self._engine.part(0, self._last)
        held = (name for name, blob in self.blobs.items() if blob.is_held or not self._lazy)
        wanted = {*names, *self.outputs, *self._looked_at, *held}
        chosen = {name: value for name, value in part.results.items() if name in wanted}
        feeds = {name: self.blobs[name].array().copy() for name in part.inputs}
        run = self._engine.run if self._calibration is None else self._calibration.run
        if self._batch_norm is None:
            found = run(part, feeds, list(chosen.values()))
        else:
            found = self._batch_norm.run_whole(run, part, feeds, list(chosen.values()))
        for name, value in chosen.items():
            self.blobs[name].store(found[value])
        if self._retraining is not None:
            self._retraining.write()
        self._fed = feeds
        self._looked_at = set()
        self._stale = part.results.keys() - chosen.keys()

    def _feed(self, start: int, end: int) -> None:
        """Let the data layers among these fill their tops."""
        for node in self._engine.layers[start : end + 1]:
            if node.name in self._feeders:
                for value, array in zip(node.outputs, self._feeders[node.name].next_batch(), strict=True):
                    self.blobs[value.blob].store(array)

    def _look_at(self, name: str) -> None:
        self._looked_at.add(name)
        if name in self._stale:
            self.look_at_all()

    def look_at_all(self) -> None:
        """Compute what the last run of the whole net has left out."""
        if not self._stale:
            return
        part = self._engine.part(0, self._last)
        chosen = {name: value for name, value in part.results.items() if name in self._stale}
        found = self._engine.run(part, self._fed, list(chosen.values()))
        self._stale = set()
        for name, value in chosen.items():
            self.blobs[name].store(found[value])

    def take_in_weights(self) -> None:
        """Compute with what has been written into the weights."""
        if self._parameters.take_in():
            self._engine.forget()

    def load_weights(self, path: str) -> None:
        """Copy weights out of a file."""
        self.look_at_all()
        self._parameters.load(path)
        self._engine.forget()

    def reshape(self) -> None:
        """Give every blob the shape that it has for the inputs as they are now. Raises `CaffeError` (AM320)."""
        self.look_at_all()
        sources = (v.blob for node in self.graph.nodes if op_def(node).source for v in node.outputs)
        with as_caffe_errors():
            shapes = infer_shapes(self.graph, {name: self.blobs[name].array().shape for name in sources})
        for name, value in self._values.items():
            if value in shapes:
                self.blobs[name].resize(shapes[value])
