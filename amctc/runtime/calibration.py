"""The observers of one calibration, which see the values of a graph batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.table import op_def
from amctc.ir import Value
from amctc.quant.activation import ActivationSettings
from amctc.quant.channel_observers import channel_observer
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import UNBOUNDED, Bounds
from amctc.quant.observers import MERGING, USUAL_OBSERVER, MergingObserver, Observer, make_observer, merging_observer
from amctc.runtime.observer_order import ObserverOrder


@dataclass(frozen=True)
class Reader:
    """A value to be observed, with the settings of the observer, the layers' name for messages, and the observer's.

    The settings of HFMG go with the observer of that name, those of IFMR with any other. The elements of `also` and of
    `constants` count as those of the value do, the latter once. `per_channel` asks for a grid for each channel of the
    last axis: the observer is then one of `amctc.quant.channel_observers`.
    """

    value: Value
    settings: ActivationSettings
    name: str
    observer: str = USUAL_OBSERVER
    also: tuple[Value, ...] = ()
    constants: tuple[NDArray[np.float32], ...] = field(default=(), compare=False)
    per_channel: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value, *self.also)


SEARCHED = 1 << 18
"""Each search is to see at least this many values of a tensor, over all samples, if it has as many."""

LEAST_OF_A_SAMPLE = 1 << 13
"""And at least this many of each sample."""


class CalibrationRun:
    """Observers for chosen values of a graph, fed batch by batch by whoever runs the graph.

    A value that only holds elements of other values (the output of a Concat or a Reshape) is not looked at itself:
    the observers of those values are merged instead. Registered observers, which cannot be merged, look at each
    value that is asked for, and so do observers of channels and HFMG: what its histogram counts depends on the order
    in which ranges grow (see `amctc.quant.hfmg_histogram`), so that merged ones could choose another grid than AMCT
    does. `batch_num` is the number of batches to come; with the size of the first it decides how much of a sample
    searches look at.
    `values` are what every batch must bring. `own` makes the observer of a reader whose value is looked at itself,
    where that is to be another than the usual one.
    """

    def __init__(
        self, readers: Sequence[Reader], batch_num: int, own: Callable[[Reader], Observer] | None = None
    ) -> None:
        self._readers = tuple(readers)
        self._batch_num = batch_num
        self._sources = {
            (reader, settings): tuple(source for value in reader.values for source in element_sources(value))
            for reader in readers
            if reader.observer in MERGING and isinstance(settings := reader.settings, IfmrSettings)
            if not reader.per_channel
        }
        merged = {reader for reader, _ in self._sources}
        self.others: dict[Reader, Observer] = {
            reader: (own or own_observer)(reader) for reader in readers if reader not in merged
        }
        """The observers that look at the very value of their reader."""
        self._names = {
            (source, settings, reader.observer): reader.name
            for (reader, settings), sources in reversed(self._sources.items())
            for source in sources
        }
        self._wanted = dict.fromkeys(
            (source, settings, reader.observer)
            for (reader, settings), sources in self._sources.items()
            for source in sources
        )
        self._locks = {key: Lock() for key in self._wanted}
        self._observers: dict[tuple[Value, IfmrSettings, str], MergingObserver] = {}
        self._per_sample = LEAST_OF_A_SAMPLE
        fetch = [
            *(value for value, _, _ in self._wanted),
            *(value for reader in self.others for value in reader.values),
        ]
        self.values = tuple(dict.fromkeys(fetch))
        self.batches = 0
        """How many batches have been seen."""

    def feed(self, arrays: Mapping[Value, NDArray[Any]], samples: int) -> None:
        """Take in the values of one batch of so many samples; the arrays may be overwritten afterwards.

        Raises `DiagnosticError` (AM404) for NaN and infinity.
        """
        if not self.batches:
            self.begin(searched_of_a_sample(self._batch_num, samples))
        self.take(arrays)
        self.batches += 1

    def begin(self, per_sample: int) -> None:
        """Make the observers that merge: their search looks at so many values of a sample, or more.

        The first batch does so, where nobody has before.
        """
        if not self._observers:
            self._per_sample = per_sample
            self._observers = {
                key: merging_observer(key[2], key[1], self._names[key], per_sample, _bounds(key[0]))
                for key in self._wanted
            }

    @property
    def whole_batches(self) -> bool:
        """Whether batches must be taken in one after the other, each as a whole.

        So it is where an observer must see several values of a batch in their order.
        """
        return any(len(reader.values) > 1 for reader in self.others)

    def order(self) -> ObserverOrder:
        """What lets observers wait that must see the batches in their order, for `take`."""
        return ObserverOrder(self.others)

    def take(self, arrays: Mapping[Value, NDArray[Any]], batch: int = 0, order: ObserverOrder | None = None) -> None:
        """Take in some of the values of a batch, each for the first time.

        Several threads may do so at the same time, each for another batch, with an `order`: the batches' numbers count
        from 0 on, and what must see the batches in their order waits.
        """
        for key, observer in self._observers.items():
            if key[0] in arrays:
                with self._locks[key]:
                    observer.update(_widened(arrays[key[0]]))
        for reader, other in self.others.items():
            for value in reader.values:
                if value not in arrays:
                    continue
                if order is None or self.whole_batches:
                    other.update(_widened(arrays[value]))
                elif isinstance(other, HfmgObserver):
                    order.update_hfmg(reader, other, batch, _widened(arrays[value]))
                else:
                    with order.turn(reader, batch):
                        other.update(_widened(arrays[value]))

    @property
    def fed(self) -> tuple[Observer, ...]:
        """The observers that each batch is fed to, once they are made; always in one order for the same readers."""
        return (*self._observers.values(), *self.others.values())

    def finish(self) -> list[Observer]:
        """One fed observer for each reader, in their order."""
        found: dict[Reader, Observer] = dict(self.others)
        for reader, other in self.others.items():
            for constant in reader.constants:
                other.update(constant)
        for (reader, settings), parts in self._sources.items():
            whole = merging_observer(reader.observer, settings, reader.name, self._per_sample)
            for constant in reader.constants:
                whole.update(constant)
            keys = [(source, settings, reader.observer) for source in parts]
            found[reader] = _merged(whole, [self._observers[key] for key in keys if key in self._observers])
        return [found[reader] for reader in self._readers]


def searched_of_a_sample(batch_num: int, samples: int) -> int:
    """How many values of a sample searches look at, in so many batches of so many samples."""
    return max(LEAST_OF_A_SAMPLE, SEARCHED // (batch_num * samples))


def element_sources(value: Value) -> tuple[Value, ...]:
    """The values whose elements, taken together, are exactly the elements of this one, each as often."""
    node = value.producer
    row = op_def(node)
    if row.identity:
        return element_sources(node.inputs[0])
    if not row.moves_data or len(node.outputs) != 1:
        return (value,)
    return tuple(source for given in node.inputs for source in element_sources(given))


def _bounds(value: Value) -> Bounds:
    return op_def(value.producer).clamps(value.producer) or UNBOUNDED


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    """Halves as float32, the type that observers look at."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def own_observer(reader: Reader) -> Observer:
    """A new observer for a reader whose value is looked at itself: of channels, HFMG's, or a registered one."""
    if reader.per_channel:
        return channel_observer(reader.settings, reader.name)
    if isinstance(reader.settings, HfmgSettings):
        return HfmgObserver(reader.settings, reader.name)
    return make_observer(reader.observer, reader.settings, reader.name)


def _merged(whole: MergingObserver, parts: Sequence[MergingObserver]) -> MergingObserver:
    for part in parts:
        whole.merge(part)
    return whole
