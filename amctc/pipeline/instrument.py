"""What watches a pipeline while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass

if TYPE_CHECKING:
    from amctc.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class PassRun:
    """One run of one pass.

    `number` counts the runs of a pipeline from 1. `nodes` are the numbers of nodes before and after,
    `counts` the statistics of the pass. A pass that was skipped has taken no time and says why.
    """

    number: int
    step: Pass
    seconds: float
    changed: bool
    nodes: tuple[int, int]
    counts: Mapping[str, int]
    skipped: str | None = None

    @property
    def name(self) -> str:
        return self.step.name


class Instrument:
    """Watches a pipeline: each method does nothing unless a subclass wants to know.

    What an instrument raises ends the pipeline; the graph must be left as it is.
    """

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        """Before the first pass."""

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        """Before every run of a pass that is not skipped."""

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        """After every run, when the graph has been verified; after a skipped pass too."""

    def failed(self, step: Pass, number: int, graph: Graph, failure: Exception) -> None:
        """When a pass has failed or broken the graph, before the failure is raised."""

    def end(self, graph: Graph, context: Context) -> None:
        """After the last pass."""
