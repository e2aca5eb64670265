"""Which run of which pass is under way: what a reproducer must know of a failure."""

from __future__ import annotations

from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass


class Running(Instrument):
    """Remembers the runs that are done and the number of the one that began, or failed, last.

    It must come before any instrument that may end the pipeline.
    """

    def __init__(self) -> None:
        self.number = 0
        self.done: list[PassRun] = []

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        self.number = number

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        self.number = run.number
        self.done.append(run)

    def failed(self, step: Pass, number: int, graph: Graph, failure: Exception) -> None:
        self.number = number
