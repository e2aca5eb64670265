"""The log's lines about the passes that run."""

from __future__ import annotations

from amctc.compat.amct_caffe import log
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass


class LoggedPasses(Instrument):
    """A line for each pass, and one for each layer that it changes where somebody wants to know that."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        log.info("Optimizer", f"Do {step.name}")
        if log.shows_layers():
            self._before = {node.name: len(node.provenance.changes) for node in graph.nodes}

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        if run.skipped is not None or not log.shows_layers():
            return
        for node in graph.nodes:
            for change in node.provenance.changes[self._before.get(node.name, 0) :]:
                log.debug(run.name, f'layer:"{node.name}" {change.what}')
