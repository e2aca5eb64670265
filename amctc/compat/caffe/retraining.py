"""Models under quantization-aware training: what their TEST phase writes into the record."""

from __future__ import annotations

from collections.abc import Iterator

from amctc.compat.amct_caffe.log import log
from amctc.compat.caffe.errors import as_caffe_errors
from amctc.dialects.retrain import DATA_OP, data_quantizers
from amctc.driver.retrain import TrainedFactors, trained_factors
from amctc.ir import Graph
from amctc.records.read_record import merge_into
from amctc.records.scale_record import LayerRecord

_PART = "RetrainDataQuant"


class NetRetraining:
    """Writes the factors of the layers that training quantizes, as they are with the weights and clips of the net.

    They are written with the first forward pass of the whole net, and again with the first one after the weights or
    the clips have changed.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._is_current = False

    @classmethod
    def of(cls, graph: Graph) -> NetRetraining | None:
        """Of a model under training in phase TEST; None for any other."""
        quantizers = [node for node in graph.nodes if node.op == DATA_OP]
        trains = any(node.attrs.get("phase") == "TRAIN" for node in quantizers)
        return cls(graph) if quantizers and not trains else None

    def forget(self) -> None:
        """Write again after the next forward pass: weights or clips have changed."""
        self._is_current = False

    def write(self) -> None:
        """Put the factors into the record. Raises `CaffeError` where no scale can be chosen, or none be written."""
        if self._is_current:
            return
        with as_caffe_errors():
            found = trained_factors(self._graph)
            order = tuple(node.name for node in self._graph.nodes)
            for file in dict.fromkeys(file for file, _ in self._by_file(found)):
                entries = [entry for path, entry in self._by_file(found) if path == file]
                merge_into(file, entries, order)
                log.info(_PART, f"the factors of {len(entries)} layers are in the record file {file}")
            if found.unset:
                log.warning(_PART, f"the clips of {len(found.unset)} layers are not set; their data are not quantized")
        self._is_current = True

    def _by_file(self, found: TrainedFactors) -> Iterator[tuple[str, LayerRecord]]:
        for entry in found.entries:
            quantizers = data_quantizers(self._graph.node(entry.name)).values()
            file = next((quantizer.attrs.get("record_file") for quantizer in quantizers), None)
            if file:
                yield str(file), entry
