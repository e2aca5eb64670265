"""The log's lines about the passes that run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from amctc.compat.log_lines import write
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass


class LoggedPasses(Instrument):
    """A line for each pass, and one for each layer that it changes where somebody wants to know that."""

    def __init__(self, log: Callable[[], logging.Logger]) -> None:
        self._log = log
        self._before: dict[str, int] = {}

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        write(self._log(), logging.INFO, "Optimizer", f"Do {step.name}")
        if self._shows_layers:
            self._before = {node.name: len(node.provenance.changes) for node in graph.nodes}

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        if run.skipped is not None or not self._shows_layers:
            return
        for node in graph.nodes:
            for change in node.provenance.changes[self._before.get(node.name, 0) :]:
                write(self._log(), logging.DEBUG, run.name, f'layer:"{node.name}" {change.what}')

    @property
    def _shows_layers(self) -> bool:
        """Whether anybody will read what is written at the level of debugging."""
        return any(handler.level <= logging.DEBUG for handler in self._log().handlers)
