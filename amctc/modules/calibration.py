"""Calibration while a torch module runs: its layers' data, batch by batch, and at the end their scales and offsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from amctc.diagnostics import Collector, DiagnosticError, error
from amctc.quant.activation import ActivationSettings
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrResult
from amctc.quant.observer import UNBOUNDED, Bounds
from amctc.quant.observers import MERGING, Observer, make_observer, merging_observer
from amctc.runtime.calibration import searched_of_a_sample

_WHOLE: Final = "call the calibration model itself for each batch: `model(batch)`"


@dataclass(frozen=True)
class Observation:
    """Layers that read one value, under settings that are alike, and who chooses the scale of it.

    `within` are bounds that the value keeps.
    """

    layers: tuple[str, ...]
    settings: ActivationSettings
    observer: str
    within: Bounds = UNBOUNDED

    @property
    def name(self) -> str:
        """For messages."""
        return ", ".join(self.layers)

    def begin(self, batch_num: int, samples: int) -> Observer:
        """A new observer for so many batches of so many samples."""
        if isinstance(self.settings, HfmgSettings):
            return HfmgObserver(self.settings, self.name)
        if self.observer not in MERGING:
            return make_observer(self.observer, self.settings, self.name)
        per_sample = searched_of_a_sample(batch_num, max(samples, 1))
        return merging_observer(self.observer, self.settings, self.name, per_sample, self.within)


@dataclass(eq=False)
class ModuleCalibration:
    """The observers of one module, a `Watcher`; `done` is called once with what they chose, by layer.

    Nothing is kept of a batch but what the observers keep. What comes after `batch_num` batches is not looked at.
    """

    observations: Sequence[Observation]
    batch_num: int
    done: Callable[[Mapping[str, IfmrResult]], None]
    batches: int = 0
    """How many have been seen."""
    _observers: dict[Observation, Observer] = field(default_factory=dict[Observation, Observer])
    _ran: set[str] = field(default_factory=set[str])
    _open: bool = False

    def __post_init__(self) -> None:
        self._of = {layer: each for each in self.observations for layer in each.layers}

    @property
    def is_done(self) -> bool:
        return self.batches >= self.batch_num

    def begin_batch(self) -> None:
        """Raises `DiagnosticError` (AM951) where the batch before did not come to its end."""
        if self._open and not self.is_done:
            message = f"batch {self.batches + 1} of the calibration stopped halfway, so that its data are seen in part"
            raise error("AM951", message, help="make the calibration model anew, and run all batches")
        self._ran.clear()
        self._open = True

    def see(self, layer: str, data: torch.Tensor) -> None:
        """What a layer is about to read. Raises `DiagnosticError`.

        AM952 for a layer that runs twice in a batch, and what the observers find: AM404 for NaN and infinity, AM410.
        """
        if self.is_done:
            return
        if layer in self._ran:
            message = f"layer `{layer}` ran twice in one batch, and has one scale for what it reads"
            notes = ("where the module calls it once, " + _WHOLE,)
            raise error("AM952", message, notes=notes, help="skip the layer (`skip_layers`), or give each call its own")
        self._ran.add(layer)
        what = self._of[layer]
        if any(other in self._ran for other in what.layers if other != layer):
            return  # they have read the same
        if what not in self._observers:
            self._observers[what] = what.begin(self.batch_num, len(data) if data.ndim else 1)
        self._observers[what].update(as_array(data))

    def end_batch(self) -> None:
        """The module has run. Raises `DiagnosticError`: AM953 for layers that never did, and what no scale fits."""
        if self.is_done:
            return
        self._open = False
        self.batches += 1
        if self.is_done:
            self.done(self._found())

    def _found(self) -> dict[str, IfmrResult]:
        collector, found = Collector(), dict[str, IfmrResult]()
        for what in self.observations:
            observer = self._observers.pop(what, None)
            if observer is None:
                collector.extend(_never_ran(what, self.batch_num).diagnostics)
                continue
            try:
                result = observer.finish()
            except DiagnosticError as mistake:
                collector.extend(mistake.diagnostics)
                continue
            found.update(dict.fromkeys(what.layers, result))
        collector.raise_errors()
        return found


def as_array(data: torch.Tensor) -> Any:
    """The numbers of a tensor, in its own memory where that is the computer's: float32, or float64."""
    tensor = data.detach()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.cpu().numpy()


def _never_ran(what: Observation, batches: int) -> DiagnosticError:
    times = "the batch" if batches == 1 else f"the {batches} batches"
    message = f"layer `{what.layers[0]}` did not run in {times} of the calibration, so nothing is known of its data"
    help = "calibrate with data that reach it, or skip the layer (`skip_layers`)"
    return error("AM953", message, help=help)
