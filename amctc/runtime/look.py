"""One run over the batches of a calibration that is put together from what was seen of parts of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from amctc.runtime.calibration import CalibrationRun
from amctc.runtime.calibration_state import CalibrationState, NoState, state_of, take_state


class Look:
    """A run of `batch_num` batches whose parts may come in any order; its observers take them in that of the batches.

    What comes too early waits, as bytes. `found` is what an earlier run had seen; raises `NoState` where that does not
    fit this one.
    """

    def __init__(self, run: CalibrationRun, batch_num: int, found: Sequence[CalibrationState] = ()) -> None:
        self.run = run
        self.batch_num = batch_num
        self._waiting: dict[int, CalibrationState] = {}
        for state in found:
            self.add(state)

    @property
    def is_done(self) -> bool:
        return self.run.batches == self.batch_num

    @property
    def done(self) -> int:
        """How many batches have been seen."""
        return self.run.batches + sum(state.stop - state.start for state in self._waiting.values())

    def missing(self) -> list[tuple[int, int]]:
        """The first batch and the end (excluded) of each stretch that nobody has seen."""
        ends = [(0, self.run.batches), *sorted((s.start, s.stop) for s in self._waiting.values())]
        ends.append((self.batch_num, self.batch_num))
        return [(stop, start) for (_, stop), (start, _) in pairwise(ends) if stop < start]

    def add(self, state: CalibrationState) -> None:
        """Take in what was seen of a stretch that is missing. Raises `NoState` for anything else."""
        if not any(start <= state.start and state.stop <= stop for start, stop in self.missing()):
            raise NoState(f"it tells of batches {state.start} to {state.stop}, which are not those that are missing")
        self._waiting[state.start] = state
        self.catch_up()

    def states(self) -> Iterator[CalibrationState]:
        """All that was seen, in the order of the batches."""
        if self.run.batches:
            yield state_of(self.run.fed, 0, self.run.batches)
        yield from (self._waiting[start] for start in sorted(self._waiting))

    def catch_up(self) -> None:
        """Let the observers take in what follows the batches that they have seen."""
        while (state := self._waiting.pop(self.run.batches, None)) is not None:
            take_state(self.run.fed, state)
            self.run.batches = state.stop
