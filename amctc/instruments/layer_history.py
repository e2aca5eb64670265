"""What became of one layer, pass by pass."""

from __future__ import annotations

from difflib import unified_diff

from amctc.diagnostics import did_you_mean
from amctc.instruments.writing import Write, to_stderr
from amctc.ir import Graph, Node
from amctc.ir.printer import print_node
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline


class LayerHistory(Instrument):
    """Writes the text of a layer at the start, and after each pass that changed it why and what.

    The reasons are those that the pass recorded. A layer that another one absorbs is followed there; one
    that a pass makes is shown from then on.
    """

    def __init__(self, name: str, write: Write = to_stderr) -> None:
        self._name = name
        self._write = write
        self._seen = False
        self._layer = name
        self._text: str | None = None
        self._changes = 0
        self._known: tuple[str, ...] = ()

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        self._known = tuple(node.name for node in graph.nodes)
        if self._name in graph:
            self._write(f"layer `{self._name}` at the start\n{_indented(self._take(graph.node(self._name)))}")
        else:
            self._write(f"layer `{self._name}` is not there at the start\n")

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        if not run.changed:
            return
        if self._layer not in graph:
            self._gone(run, graph)
            return
        node = graph.node(self._layer)
        before, reasons = self._text, self._reasons(node, run)
        text = self._take(node)
        if before is None:
            self._write(f"`{self._layer}` made by {_run(run)}{reasons}\n{_indented(text)}")
        elif text != before:
            self._write(f"`{self._layer}` changed by {_run(run)}{reasons}\n{_indented(_diff(before, text))}")

    def failed(self, step: Pass, number: int, graph: Graph, failure: Exception) -> None:
        self._write(f"{step.name} ({number}) failed\n")

    def end(self, graph: Graph, context: Context) -> None:
        if not self._seen:
            hint = did_you_mean(self._name, (*self._known, *(node.name for node in graph.nodes)))
            self._write(f"there was no layer `{self._name}` at any time{'; ' + hint if hint else ''}\n")

    def _gone(self, run: PassRun, graph: Graph) -> None:
        if self._text is None:
            return
        heir = next((node for node in graph.nodes if self._layer in node.provenance.absorbed), None)
        self._text, self._changes = None, 0
        if heir is None:
            self._write(f"`{self._layer}` removed by {_run(run)}\n")
            return
        self._changes = sum(change.by != run.name for change in heir.provenance.changes)
        reasons = self._reasons(heir, run)
        self._write(
            f"`{self._layer}` absorbed by {_run(run)} into `{heir.name}`, which is followed from here{reasons}\n"
        )
        self._layer = heir.name
        self._write(_indented(self._take(heir)))

    def _reasons(self, node: Node, run: PassRun) -> str:
        """What the pass recorded in this run; a pass that recorded nothing gave no reason."""
        new = [change for change in node.provenance.changes[self._changes :] if change.by == run.name]
        texts = [change.what + (f" ({change.rule})" if change.rule else "") for change in new]
        return f": {'; '.join(texts)}" if texts else ""

    def _take(self, node: Node) -> str:
        self._seen = True
        self._changes = len(node.provenance.changes)
        self._text = print_node(node)
        return self._text


def _run(run: PassRun) -> str:
    return f"{run.name} ({run.number})"


def _diff(before: str, after: str) -> str:
    """What changed, but for the changes on record: these have been told as the reasons."""
    lines = list(unified_diff(_without_record(before), _without_record(after), n=0, lineterm=""))
    return "".join(f"{line}\n" for line in lines[2:] if not line.startswith("@@"))


def _without_record(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("  change ")]


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
