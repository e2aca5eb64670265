"""What the observers of a calibration have seen of some of its batches, as a value and as bytes.

It goes from a worker to whoever puts a calibration together, and into a checkpoint. Equal states give equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, get_args

from amctc.diagnostics import DiagnosticError
from amctc.quant.hfmg import HfmgObserver
from amctc.quant.hfmg_parts import HfmgRanges, HfmgStretch
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.observer import IfmrObserver
from amctc.quant.observer_state import MOST_BYTES, BuiltInObserver, from_bytes, to_bytes
from amctc.quant.observers import Observer

_MAGIC: Final = b"amctc-part-1\n\x00\x00\x00"
_HEAD: Final = struct.Struct("<16sQQQ")
_SIZE: Final = struct.Struct("<Q")
MOST_OBSERVERS: Final = 1 << 20
MOST_STATES: Final = 1 << 20
"""No observer has more states: HFMG has one for each time that the range grows."""

Part: TypeAlias = tuple[bytes, ...]
"""What one observer has seen: one state, or for HFMG one for each range, in their order."""


class NoState(ValueError):
    """These bytes are no state, or do not belong to this calibration; the text says why."""


@dataclass(frozen=True)
class CalibrationState:
    """What was seen of the batches from `start` up to `stop` (excluded): a part for each observer, in their order."""

    start: int
    stop: int
    parts: tuple[Part, ...]

    def to_bytes(self) -> bytes:
        """Little-endian: a mark with the version, `start`, `stop` and the number of parts; then of each part the number
        of its states, and of each state its length and the state."""
        pieces = [_HEAD.pack(_MAGIC, self.start, self.stop, len(self.parts))]
        for part in self.parts:
            pieces.append(_SIZE.pack(len(part)))
            for state in part:
                pieces += (_SIZE.pack(len(state)), state)
        return b"".join(pieces)

    @staticmethod
    def from_bytes(data: bytes) -> CalibrationState:
        """The inverse. Nothing in `data` is trusted; raises `NoState`. The parts are not looked into."""
        reader = _Reader(data)
        magic, start, stop, count = _HEAD.unpack(reader.take(_HEAD.size))
        if magic != _MAGIC:
            raise NoState("it is of another version")
        if not start < stop or count > MOST_OBSERVERS:
            raise NoState("its numbers make no sense")
        parts = tuple(reader.part() for _ in range(count))
        if not reader.at_end:
            raise NoState("it is longer than it says")
        return CalibrationState(start, stop, parts)


class _Reader:
    """Takes pieces off bytes, never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def at_end(self) -> bool:
        return self._place == len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._place:
            raise NoState("it is shorter than it says")
        self._place += size
        return self._data[self._place - size : self._place]

    def part(self) -> Part:
        count = self._number()
        if count > MOST_STATES:
            raise NoState("its numbers make no sense")
        return tuple(self.take(self._number()) for _ in range(count))

    def _number(self) -> int:
        (number,) = _SIZE.unpack(self.take(_SIZE.size))
        return int(number)


def has_state(observer: Observer) -> bool:
    """Whether `part_of` can say what an observer has seen: those that are registered cannot."""
    return isinstance(observer, HfmgRanges | HfmgStretch | get_args(BuiltInObserver))


def part_of(observer: Observer) -> Part:
    """All that an observer has seen."""
    if isinstance(observer, HfmgRanges):
        return (observer.to_bytes(),)
    if isinstance(observer, HfmgStretch):
        return tuple(to_bytes(counted) for counted in observer.counted)
    if isinstance(observer, HfmgObserver):
        return (to_bytes(observer),) if observer.histogram is not None else ()
    if isinstance(observer, IfmrObserver | MinMaxObserver):
        return (to_bytes(observer),)
    raise TypeError(f"{type(observer).__name__} cannot say what it has seen")


def take_part(observer: Observer, part: Part) -> None:
    """Let an observer take in what another one has seen of batches that come after its own.

    Raises `NoState` for what is no part of such an observer.
    """
    try:
        for state in part:
            _take(observer, state)
    except DiagnosticError as mistake:
        raise NoState(mistake.diagnostics[0].message) from mistake


def _take(observer: Observer, state: bytes) -> None:
    if isinstance(observer, HfmgRanges):
        observer.append(_checked_ranges(state))
        return
    other = _same_kind(observer, state)
    try:
        observer.merge(other)  # type: ignore[attr-defined]
    except ValueError as problem:
        raise NoState(str(problem)) from problem


def _checked_ranges(state: bytes) -> HfmgRanges:
    try:
        return HfmgRanges.from_bytes(state)
    except ValueError as problem:
        raise NoState(str(problem)) from problem


def _same_kind(observer: Observer, state: bytes) -> BuiltInObserver:
    if len(state) > MOST_BYTES:
        raise NoState("the state of an observer is too long")
    other = from_bytes(state)
    if type(other) is not type(observer):
        raise NoState("it is that of an observer of another kind")
    return other


def state_of(observers: Sequence[Observer], start: int, stop: int) -> CalibrationState:
    """What observers have seen, of the batches from `start` up to `stop` (excluded)."""
    return CalibrationState(start, stop, tuple(part_of(observer) for observer in observers))


def take_state(observers: Sequence[Observer], state: CalibrationState) -> None:
    """Let observers take in a state of later batches. Raises `NoState` for one of other observers.

    They are of no use then.
    """
    if len(state.parts) != len(observers):
        raise NoState(f"it is that of {len(state.parts)} observers, not of {len(observers)}")
    for observer, part in zip(observers, state.parts, strict=True):
        take_part(observer, part)
