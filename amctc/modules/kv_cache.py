"""Calibration of outputs that are kept as keys and values of attention, while a torch module runs.

Each output has a count of its own: with its `batch_num`-th call its factors are chosen and put into the record, and
what comes later is not looked at. What a layer gives is handed on as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from amctc.diagnostics import error
from amctc.modules.calibration import Observation, as_array
from amctc.modules.wrapped import Wrapped
from amctc.output import write_files
from amctc.policy.resolve_kv import KvCandidate
from amctc.policy.resolved import ResolvedPolicy
from amctc.quant.activation import ActivationSettings
from amctc.quant.channel_observers import channel_observer, grids_of
from amctc.quant.observers import USUAL_OBSERVER, Observer
from amctc.records.kv_cache import KvCacheRecord
from amctc.records.read_record import merge_into
from amctc.records.scale_record import LayerRecord

Done: TypeAlias = Callable[[str, KvCacheRecord], None]
"""Is told the name of a layer and the factors of its output."""

Sees: TypeAlias = Callable[[torch.Tensor], None]


@dataclass(frozen=True)
class OutputSettings:
    """How one output is calibrated: by which algorithm, with a grid for each channel or one, and on how many calls."""

    settings: ActivationSettings
    per_channel: bool = False
    batch_num: int = 1


class OutputCalibration:
    """What is seen of one output; not a module, so that it is in no `state_dict`."""

    def __init__(self, how: OutputSettings, done: Done) -> None:
        self.how = how
        self.calls = 0
        """How many have been seen."""
        self._done = done
        self._observer: Observer | None = None

    @property
    def is_done(self) -> bool:
        return self.calls >= self.how.batch_num

    def see(self, name: str, output: object) -> None:
        """Take in the output of one call; with the last, tell what was chosen.

        Raises `DiagnosticError`, naming the layer: AM404 for NaN and infinity, AM405 for zeros alone, AM410 for data
        that no scale fits, AM288 for an output that is no tensor of floats or has changed its channels.
        """
        if self.is_done:
            return
        if not isinstance(output, torch.Tensor) or not output.is_floating_point() or not output.ndim:
            kind = str(output.dtype) if isinstance(output, torch.Tensor) else type(output).__name__
            help = "name a layer that gives one tensor of floats, of one axis or more"
            raise error("AM288", f"the output of layer `{name[:200]}` is of type {kind}", help=help)
        if self._observer is None:
            self._observer = self._begin(name, len(output))
        try:
            self._observer.update(as_array(output))
        except ValueError as problem:
            help = "call it with outputs that have as many channels each time, or quantize per tensor"
            raise error("AM288", f"the output of layer `{name}` has {problem}", help=help) from None
        self.calls += 1
        if self.is_done:
            observer, self._observer = self._observer, None
            self._done(name, KvCacheRecord.of(grids_of(observer)))

    def _begin(self, name: str, samples: int) -> Observer:
        if self.how.per_channel:
            return channel_observer(self.how.settings, name)
        return Observation((name,), self.how.settings, USUAL_OBSERVER).begin(self.how.batch_num, samples)


class OutputObserved(Wrapped):
    """Computes what the layer does, and shows what it gives to `sees`."""

    def __init__(self, layer: nn.Module, sees: Sees) -> None:
        super().__init__(layer)
        self._sees = sees

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.sub_module(*args, **kwargs)
        self._sees(output)
        return output


def kv_module_candidates(module: nn.Module) -> Mapping[str, KvCandidate]:
    """All modules inside a module, by qualified name; keys and values come from Linear layers."""
    return {
        name: KvCandidate(type(each).__name__, isinstance(each, nn.Linear))
        for name, each in module.named_modules(remove_duplicate=False)
        if name
    }


def kv_calibrated(
    module: nn.Module,
    policy: ResolvedPolicy,
    record: Path,
    around: Callable[[Callable[..., None]], Callable[..., None]] = lambda call: call,
) -> nn.Module:
    """A module that computes what `module` does and calibrates the outputs that a policy names, as it runs.

    It shares all parameters and buffers with `module`, which stays as it is. The record is begun anew; the entry of
    each layer is written when it is done. `around` is put around what runs inside the user's calls. Raises
    `DiagnosticError` (AM700) where the record cannot be written.
    """
    writer = RecordWriter(record)
    writer.begin()
    made = structural_copy(module)
    for name, config in policy.kv_cache.items():
        how = OutputSettings(config.output.settings, config.per_channel, policy.batch_num)
        calibration = OutputCalibration(how, writer.write)
        layer = made.get_submodule(name)
        made.set_submodule(name, OutputObserved(layer, around(_seer(calibration, name))))
    return made


def _seer(calibration: OutputCalibration, name: str) -> Callable[..., None]:
    def see(output: torch.Tensor) -> None:
        calibration.see(name, output)

    return see


@dataclass(frozen=True)
class RecordWriter:
    """A record that gets the entries of layers one after the other; those that are there already stay."""

    path: Path

    def begin(self) -> None:
        """Make the record empty."""
        write_files({self.path: b""})

    def write(self, layer: str, factors: KvCacheRecord) -> None:
        """Put in the factors of a layer. Raises `DiagnosticError` as `merge_into` does."""
        merge_into(self.path, [LayerRecord(layer, kv_cache=factors)])


def structural_copy(module: nn.Module) -> nn.Module:
    """A copy of a module and those in it that has the same parameters and buffers, not copies of them."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
