"""The graph as numbered files: the input, and after every pass that changed it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from amctc.instruments.timing import timing_to_json
from amctc.ir import Graph
from amctc.ir.printer import print_graph
from amctc.output import write_files
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline


class Dumps(Instrument):
    """Writes `00-input.txt`, then `NN-PASS.txt` after run NN if it changed the graph, and `timing.json` at the end.

    Long weights are named by their hashes, so that two files compare line by line. The folder is made; what
    lies there stays, but for files of these names. Raises `DiagnosticError` (AM700) where it cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._runs: list[PassRun] = []

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        self._dump("00-input.txt", graph)

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        self._runs.append(run)
        if run.changed:
            self._dump(f"{run.number:02}-{re.sub(r'[^A-Za-z0-9_.-]', '_', run.name)}.txt", graph)

    def failed(self, step: Pass, number: int, graph: Graph, failure: Exception) -> None:
        self._timing()

    def end(self, graph: Graph, context: Context) -> None:
        self._timing()

    def _dump(self, name: str, graph: Graph) -> None:
        write_files({self._folder / name: print_graph(graph, elide_weights=True).encode()})

    def _timing(self) -> None:
        text = json.dumps(timing_to_json(self._runs), indent=2)
        write_files({self._folder / "timing.json": f"{text}\n".encode()})
