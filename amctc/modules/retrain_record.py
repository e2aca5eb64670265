"""The factors that a training has led to, as entries of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from amctc.modules.retrain_model import retrain_layers
from amctc.modules.trained_layer import RetrainLayer
from amctc.output import write_files
from amctc.quant.grid import check_scale, guard_scale
from amctc.quant.ulq import grid_of_clips
from amctc.records.pytorch_record import pytorch_record_text
from amctc.records.scale_record import InputRecord, LayerRecord


@dataclass(frozen=True)
class RetrainRecord:
    """The entry of each layer, by its name in the order of the model, and the layers whose clips are not set."""

    entries: Mapping[str, LayerRecord]
    unset: tuple[str, ...]


def retrain_record(model: nn.Module) -> RetrainRecord:
    """The factors of every layer as they are with its weights and clips now.

    Scale and offset of the data are those of the clips. `scale_w` is that of the weights, times
    |gamma| / sqrt(variance + eps) of the BatchNorm that is to be folded into the layer, by channel. Source: AMCT's
    retraining. Raises `DiagnosticError` (AM410, AM412) for weights or clips that no scale can be chosen for.
    """
    layers = retrain_layers(model)
    made = {name: _entry(name, layer) for name, layer in layers.items()}
    entries = {name: entry for name, entry in made.items() if entry is not None}
    return RetrainRecord(entries, tuple(name for name in made if name not in entries))


class RecordWriter:
    """Writes the record after the first evaluation of a model, and after the first one behind further training.

    It is a forward hook of the model. As long as the clips of a layer are not set, nothing is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._due = True

    def __call__(self, model: nn.Module, inputs: object, outputs: object) -> None:
        if model.training:
            self._due = True
        elif self._due:
            record = retrain_record(model)
            self._due = bool(record.unset)
            if not record.unset:
                write_files({self.path: pytorch_record_text(record.entries.values()).encode()})


def _entry(name: str, layer: RetrainLayer) -> LayerRecord | None:
    inside, clips = layer.quant_module, layer.quant_module.clips()
    if clips is None:
        return None
    grid = grid_of_clips(clips, inside.range.bits)
    check_scale(grid.scale, name)
    data = InputRecord(0, float(np.float32(grid.scale)), int(grid.offset), grid.bits)
    scales, slopes = inside.weight_scales(), layer.slopes()
    if slopes is not None:
        scales = guard_scale((scales * slopes).astype(np.float32))
    check_scale(scales, name)
    return LayerRecord(name, (data,)).with_weights(scales, inside.how.bits)
