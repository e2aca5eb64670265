"""Calibration of a model that was read with its observers, by whoever runs it batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from amctc.diagnostics import Collector, DiagnosticError, did_you_mean
from amctc.dialects.shapes import node_error
from amctc.ir import Graph, Node, Value
from amctc.quant.activation import settings_from_plain
from amctc.quant.ifmr import IfmrResult
from amctc.quant.observers import USUAL_OBSERVER, check_observer
from amctc.records.read_record import merge_into
from amctc.records.scale_offset import input_record
from amctc.records.scale_record import InputRecord, LayerRecord, ScaleRecord
from amctc.runtime.calibration import CalibrationRun, Reader, choose_grids
from amctc.runtime.executor import read_inputs


@dataclass(frozen=True)
class CalibrationDone:
    """What a calibration found: an entry for each layer, in the order of the graph, and where they are to go."""

    entries: tuple[LayerRecord, ...]
    order: tuple[str, ...]
    """The layers of the graph in its order, which is that of the record."""
    record_file: str
    batches: int

    def write(self) -> ScaleRecord:
        """Put the factors into the record, beside what it has; raises `DiagnosticError` as `merge_into` does."""
        return merge_into(self.record_file, self.entries, self.order)


class CalibrationSession:
    """The observers of a calibration model, all of them together.

    Whoever runs the model fetches `values` with each batch and feeds them. With the last of `batch_num` batches all
    factors are chosen; what is fed afterwards is ignored. Raises `DiagnosticError` (AM627) for a model whose
    observers do not fit together, AM524 for an observer that is not registered.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = [node for node in graph.nodes if node.op == "quant.Observe"]
        self._check()
        self.batch_num = _batch_num(self._nodes[0])
        self.record_file = str(self._nodes[0].attrs["record_file"])
        self._readers = [_reader(node) for node in self._nodes]
        self._run = CalibrationRun(self._readers, self.batch_num)
        self._inputs = tuple(read_inputs(graph).values())
        self.values = tuple(dict.fromkeys((*self._run.values, *self._inputs)))
        """What `feed` needs of each batch: the values to look at, and the inputs, which tell the number of samples."""
        self.batches = 0
        """How many batches have been fed, those that came too late among them."""

    @staticmethod
    def is_needed(graph: Graph) -> bool:
        """Whether the graph has observers at all."""
        return any(node.op == "quant.Observe" for node in graph.nodes)

    @property
    def is_done(self) -> bool:
        return self.batches >= self.batch_num

    def feed(self, arrays: Mapping[Value, NDArray[Any]]) -> CalibrationDone | None:
        """Take in one batch; what was found, with the last of them, and None with any other.

        Raises `DiagnosticError`: AM404 for NaN or infinity, and with the last batch AM405, AM406 and AM410 for layers
        that no scale can be chosen for.
        """
        if self.is_done:
            self.batches += 1
            return None
        self._run.feed(arrays, max(len(arrays[value]) for value in self._inputs))
        self.batches += 1
        return self._finish() if self.is_done else None

    def _finish(self) -> CalibrationDone:
        collector = Collector()
        found: dict[str, dict[int, InputRecord]] = {}
        grids = choose_grids(self._readers, self._run.finish())
        for node, result in zip(self._nodes, grids, strict=True):
            if isinstance(result, DiagnosticError):
                collector.extend(result.diagnostics)
                continue
            for name, index in _readers(node):
                found.setdefault(name, {})[index] = self._recorded(name, index, result)
        collector.raise_errors()
        order = tuple(node.name for node in self._graph.nodes)
        entries = tuple(
            LayerRecord(name, tuple(found[name][index] for index in sorted(found[name])))
            for name in order
            if name in found
        )
        return CalibrationDone(entries, order, self.record_file, self.batch_num)

    def _recorded(self, name: str, index: int, result: IfmrResult) -> InputRecord:
        inputs = self._graph.node(name).inputs
        shape = inputs[index].shape if index < len(inputs) else None
        return input_record(index, float(result.scale), int(result.offset), result.bits, shape)

    def _check(self) -> None:
        if not self._nodes:
            raise ValueError("this is no calibration model: it has no observers")
        collector = Collector()
        first = self._nodes[0]
        seen: dict[tuple[str, int], Node] = {}
        for node in self._nodes:
            check_observer(str(node.attrs.get("observer", USUAL_OBSERVER)))
            for theirs, ours in (("batch_num", "batch_num"), ("record_file_path", "record_file")):
                if node.attrs.get(ours) != first.attrs.get(ours):
                    message = f"has another `{theirs}` than `{first.name}`; all observers of a model end together"
                    collector.add(node_error("AM627", node, message))
            for name, index in _readers(node):
                if name not in self._graph:
                    help = did_you_mean(name, (each.name for each in self._graph.nodes))
                    collector.add(
                        node_error("AM627", node, f"observes for the layer `{name}`, which is not there", help)
                    )
                elif index > len(self._graph.node(name).inputs):
                    collector.add(
                        node_error("AM627", node, f"observes for input {index} of `{name}`, which it has not")
                    )
                elif seen.setdefault((name, index), node) is not node:
                    other = seen[name, index].name
                    collector.add(
                        node_error("AM627", node, f"observes for input {index} of `{name}`, as `{other}` does")
                    )
        collector.raise_errors()


def _batch_num(node: Node) -> int:
    given = node.attrs.get("batch_num")
    if not isinstance(given, int):
        raise ValueError(f"{node.name!r} was not read from a calibration model")
    return given


def _readers(node: Node) -> Iterator[tuple[str, int]]:
    """The layers that take the factors of an observer, each with the index of the input."""
    layers, inputs = node.attrs["layers"], node.attrs["inputs"]
    names: Sequence[object] = layers if isinstance(layers, tuple) else ()
    indices: Sequence[object] = inputs if isinstance(inputs, tuple) else ()
    for name, index in zip(names, indices, strict=True):
        yield str(name), index if isinstance(index, int) else 0


def _reader(node: Node) -> Reader:
    settings = settings_from_plain(node.attrs["settings"])
    name = ", ".join(name for name, _ in _readers(node))
    return Reader(node.inputs[0], settings, name, str(node.attrs.get("observer", USUAL_OBSERVER)))
