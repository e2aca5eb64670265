"""The whole graph as text before and after passes."""

from __future__ import annotations

from collections.abc import Collection

from amctc.diagnostics import did_you_mean, error
from amctc.instruments.writing import Write, to_stderr
from amctc.ir import Graph
from amctc.ir.printer import print_graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline

ALL = "all"
"""Stands for every pass."""


class PrintIR(Instrument):
    """Writes the graph, long weights left out, before the passes `before` and after the passes `after`.

    After a pass that changed nothing one line says so. A pass that fails leaves its graph unprinted: it may be
    broken. Raises `DiagnosticError` (AM533) for a name that the pipeline does not have.
    """

    def __init__(self, *, before: Collection[str] = (), after: Collection[str] = (), write: Write = to_stderr) -> None:
        self._before = frozenset(before)
        self._after = frozenset(after)
        self._write = write

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        known = list(dict.fromkeys(step.name for step in pipeline.passes))
        for name in sorted((self._before | self._after) - {ALL}):
            if name not in known:
                help = did_you_mean(name, known) or f"it has {', '.join(known)}"
                raise error("AM533", f"the graph is to be printed at `{name}`, which the pipeline has not", help=help)

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        if _chosen(step.name, self._before):
            self._write(f"// graph before {step.name} ({number})\n{print_graph(graph, elide_weights=True)}")

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        if not _chosen(run.name, self._after):
            return
        head = f"// graph after {run.name} ({run.number})"
        if run.skipped is not None:
            self._write(f"{head}: skipped, {run.skipped}\n")
        elif not run.changed:
            self._write(f"{head}: nothing changed\n")
        else:
            self._write(f"{head}\n{print_graph(graph, elide_weights=True)}")


def _chosen(name: str, names: Collection[str]) -> bool:
    return name in names or ALL in names
