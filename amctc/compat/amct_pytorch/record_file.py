"""What a calibration writes into the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amctc.ir import Graph, Node
from amctc.output import write_files
from amctc.quant.half_precision import scale_in
from amctc.quant.ifmr import IfmrResult
from amctc.records.factors import weight_scales
from amctc.records.pytorch_record import pytorch_record_text
from amctc.records.scale_record import InputRecord, LayerRecord


@dataclass(frozen=True)
class CalibrationRecord:
    """The record of one calibration: entries with the scales of weights, in the order of the file.

    `modes` are the precision modes of the layers' data.
    """

    path: Path
    entries: tuple[LayerRecord, ...]
    modes: Mapping[str, str | None]

    @classmethod
    def of(cls, graph: Graph, path: Path, order: Sequence[str]) -> CalibrationRecord:
        """Of a graph whose weights are quantized; `order` names all its quantized layers."""
        quantized = {node.name: node for node in graph.nodes if node.quant is not None}
        entries = tuple(_entry(quantized[name]) for name in order)
        modes = {name: node.quant.precision_mode for name, node in quantized.items() if node.quant is not None}
        return cls(path, entries, modes)

    def write(self, found: Mapping[str, IfmrResult] | None = None) -> None:
        """Write it, with what was found for the data of the layers if that is known. Raises AM700."""
        entries: Iterable[LayerRecord] = self.entries
        if found is not None:
            entries = (replace(each, inputs=(self._data(each.name, found[each.name]),)) for each in self.entries)
        weightless = {each.name for each in self.entries if not each.scale_w}
        write_files({self.path: pytorch_record_text(entries, weightless).encode()})

    def _data(self, layer: str, found: IfmrResult) -> InputRecord:
        return InputRecord(0, scale_in(self.modes[layer], float(found.scale)), int(found.offset), found.bits)


def _entry(node: Node) -> LayerRecord:
    entry, quant = LayerRecord(node.name), node.quant
    scales = weight_scales(node)
    if quant is None:
        return entry
    if quant.balance is not None:
        entry = replace(entry, balance=quant.balance.factors)
    return entry if scales is None or quant.weight is None else entry.with_weights(scales, quant.weight.bits)
