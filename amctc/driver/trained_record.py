"""What phase TEST of a model under quantization-aware training writes into the record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np

from amctc.dialects.retrain import DATA_OP, data_quantizers
from amctc.driver.retrain import TrainedFactors, trained_factors
from amctc.ir import Graph
from amctc.records.read_record import merge_into
from amctc.records.scale_record import LayerRecord


class TrainedRecord:
    """Writes the factors of the layers that training quantizes, as they are with the weights and clips of a graph.

    Its RetrainDataQuant layers name the record. `tell` and `warn` are told what was written, and what could not be.
    """

    def __init__(self, graph: Graph, tell: Callable[[str], object], warn: Callable[[str], object]) -> None:
        self._graph = graph
        self._tell = tell
        self._warn = warn
        self._written = b""

    @classmethod
    def of(cls, graph: Graph, tell: Callable[[str], object], warn: Callable[[str], object]) -> TrainedRecord | None:
        """Of a model under training in phase TEST that names a record; None for any other."""
        quantizers = [node for node in graph.nodes if node.op == DATA_OP]
        trains = any(node.attrs.get("phase") == "TRAIN" for node in quantizers)
        named = any(node.attrs.get("record_file") for node in quantizers)
        return cls(graph, tell, warn) if named and not trains else None

    def write(self) -> None:
        """Put the factors into the record, unless the weights and clips are those of the last time.

        Raises `DiagnosticError` where no scale can be chosen (AM410, AM412), or none be written (AM700).
        """
        state = _digest(self._graph)
        if state == self._written:
            return
        found = trained_factors(self._graph)
        order = tuple(node.name for node in self._graph.nodes)
        for file in dict.fromkeys(file for file, _ in self._by_file(found)):
            entries = [entry for path, entry in self._by_file(found) if path == file]
            merge_into(file, entries, order)
            self._tell(f"the factors of {len(entries)} layers are in the record file {file}")
        if found.unset:
            self._warn(f"the clips of {len(found.unset)} layers are not set; their data are not quantized")
        self._written = state

    def _by_file(self, found: TrainedFactors) -> Iterator[tuple[str, LayerRecord]]:
        for entry in found.entries:
            quantizers = data_quantizers(self._graph.node(entry.name)).values()
            file = next((quantizer.attrs.get("record_file") for quantizer in quantizers), None)
            if file:
                yield str(file), entry


def _digest(graph: Graph) -> bytes:
    digest = hashlib.blake2b()
    for node in graph.nodes:
        for array in node.weights.values():
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()
