"""A pipeline: passes in order, and the run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from amctc.diagnostics import DiagnosticError
from amctc.dialects.verify import verify_ops
from amctc.ir import Graph
from amctc.ir.graph import TooManyChanges
from amctc.ir.verify import InvalidGraph
from amctc.pipeline.context import Context
from amctc.pipeline.failure import PassFailure, node_of
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass

ROUNDS = 16
"""So many rounds a fixpoint group may take, where its text says nothing."""

_CHANGES_A_NODE = 100
_CHANGES = 1000
"""A pass that changes the graph more often than this (and so often for each node) is taken to be endless."""


@dataclass(frozen=True)
class Fixpoint:
    """Passes that run in turn until a round changes nothing, at most `limit` rounds."""

    passes: tuple[Pass, ...]
    limit: int = ROUNDS

    def __str__(self) -> str:
        options = f"{{limit={self.limit}}}" if self.limit != ROUNDS else ""
        return f"fixpoint{options}({','.join(map(str, self.passes))})"


Step: TypeAlias = Pass | Fixpoint


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run. `str(pipeline)` is a text that makes the same pipeline."""

    steps: tuple[Step, ...]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Every pass, those of a fixpoint group once."""
        return tuple(step for _, step in _flat(self.steps))

    def __str__(self) -> str:
        return ",".join(map(str, self.steps))

    def run(self, graph: Graph, context: Context, instruments: Sequence[Instrument] = ()) -> tuple[PassRun, ...]:
        """Run every pass, verifying the graph before the first and after each.

        Raises `DiagnosticError` for the user's mistakes and `PassFailure` for those of a pass.
        """
        verify_ops(graph)
        for instrument in instruments:
            instrument.begin(self, graph, context)
        run = _Run(graph, context, instruments)
        for step in self.steps:
            if isinstance(step, Pass):
                run.once(step)
            else:
                run.to_fixpoint(step)
        for instrument in instruments:
            instrument.end(graph, context)
        return tuple(run.done)

    def place_of(self, name: str) -> int | None:
        """The index of the step that is, or has, the pass of that name; None when there is none."""
        return next((index for index, step in _flat(self.steps) if step.name == name), None)


class _Run:
    """One run of a pipeline over one graph."""

    def __init__(self, graph: Graph, context: Context, instruments: Sequence[Instrument]) -> None:
        self.graph = graph
        self.context = context
        self.instruments = instruments
        self.done: list[PassRun] = []

    def to_fixpoint(self, group: Fixpoint) -> None:
        last = group.passes[-1]
        for _ in range(group.limit):
            changed = [step for step in group.passes if self.once(step)]
            if not changed:
                return
            last = changed[-1]
        what = f"still changes the graph in round {group.limit} of `{group}`"
        raise self._told(PassFailure(last, what, self.graph.last_changed))

    def once(self, step: Pass) -> bool:
        number = len(self.done) + 1
        context = self.context.for_pass()
        before = len(self.graph)
        if reason := step.skip_reason(context):
            self._finish(PassRun(number, step, 0.0, False, (before, before), {}, reason), context)
            return False
        for instrument in self.instruments:
            instrument.before(step, number, self.graph, self.context)
        begin = time.perf_counter()
        changed = self._changed(step, context)
        seconds = time.perf_counter() - begin
        self._verify(step)
        context.collector.raise_errors()
        run = PassRun(number, step, seconds, changed, (before, len(self.graph)), dict(context.counts))
        self._finish(run, context)
        return changed

    def _changed(self, step: Pass, context: Context) -> bool:
        self.graph.allow_changes(_CHANGES + _CHANGES_A_NODE * len(self.graph))
        try:
            changed = step.run(self.graph, context)
        except DiagnosticError:
            raise
        except TooManyChanges as failure:
            what = f"does not come to an end: it has changed the graph {failure.count} times"
            raise self._told(PassFailure(step, what, self.graph.last_changed)) from failure
        except Exception as failure:  # of a pass, which may be anybody's
            what = f"failed with {type(failure).__name__}: {failure}"
            raise self._told(PassFailure(step, what, node_of(failure))) from failure
        finally:
            self.graph.allow_changes(None)
        if not isinstance(changed, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # a pass may be anybody's
            what = f"returned {changed!r} where `run` says by True or False whether the graph has changed"
            raise self._told(PassFailure(step, what))
        return changed

    def _verify(self, step: Pass) -> None:
        try:
            verify_ops(self.graph)
        except InvalidGraph as broken:
            raise self._told(PassFailure(step, f"left a broken graph: {broken}", broken.node)) from broken

    def _finish(self, run: PassRun, context: Context) -> None:
        self.done.append(run)
        for instrument in self.instruments:
            instrument.after(run, self.graph, context)

    def _told(self, failure: PassFailure) -> PassFailure:
        """The failure, of which the instruments know now."""
        for instrument in self.instruments:
            instrument.failed(failure.step, len(self.done) + 1, self.graph, failure)
        return failure


def _flat(steps: Sequence[Step]) -> Iterator[tuple[int, Pass]]:
    for index, step in enumerate(steps):
        for each in (step,) if isinstance(step, Pass) else step.passes:
            yield index, each
