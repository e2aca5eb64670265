"""Models under quantization-aware training: what their TEST phase writes into the record."""

from __future__ import annotations

from functools import partial

from amctc.compat.amct_caffe.log import log
from amctc.compat.caffe.errors import as_caffe_errors
from amctc.driver.trained_record import TrainedRecord
from amctc.ir import Graph

_PART = "RetrainDataQuant"


class NetRetraining:
    """Writes the factors of the layers that training quantizes, as they are with the weights and clips of the net.

    They are written with the first forward pass of the whole net, and again with the first one after the weights or
    the clips have changed.
    """

    def __init__(self, record: TrainedRecord) -> None:
        self._record = record

    @classmethod
    def of(cls, graph: Graph) -> NetRetraining | None:
        """Of a model under training in phase TEST; None for any other."""
        record = TrainedRecord.of(graph, partial(log.info, _PART), partial(log.warning, _PART))
        return cls(record) if record is not None else None

    def write(self) -> None:
        """Put the factors into the record. Raises `CaffeError` where no scale can be chosen, or none be written."""
        with as_caffe_errors():
            self._record.write()
