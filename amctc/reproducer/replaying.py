"""A reproducer run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amctc.pipeline.instrument import Instrument
from amctc.reproducer.attempt import attempt, batch_of, pipeline_of
from amctc.reproducer.failure import Broken, Failure, failure_of, layer_names
from amctc.reproducer.reproducer import read_reproducer


@dataclass(frozen=True)
class Replay:
    """What came of it: the failure that the folder tells of, the exception of now (None: no failure), whether equal."""

    recorded: Failure
    broken: Broken | None
    same: bool


def replay(folder: str | Path, *, plugins: Sequence[str | Path] = (), instruments: Sequence[Instrument] = ()) -> Replay:
    """Run a reproducer, with instruments. Raises `DiagnosticError` as `read_reproducer` does, and as passes do."""
    found = read_reproducer(Path(folder), plugins)
    names = layer_names(found.graph)
    broken = attempt(
        found.graph, pipeline_of(found), found.policy, batch_of(found), found.tolerance, instruments, found.record
    )
    same = broken is not None and failure_of(broken).like(found.failure, names)
    return Replay(found.failure, broken, same)
