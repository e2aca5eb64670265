"""How the command line looks: diagnostics and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from amctc.diagnostics import Collector, Diagnostic, Level, render
from amctc.progress import Progress

if TYPE_CHECKING:
    from amctc.driver import CompileResult, PassExplanation
    from amctc.policy.check import FileReport
    from amctc.policy.explained import ExplainRow, Explanation
    from amctc.policy.explained_layers import LayerRow


def say(line: str) -> None:
    """One line of result."""
    sys.stdout.write(f"{line}\n")


def as_json(value: bool | int | float | str) -> str:
    """A value as a JSON layer config would write it."""
    return json.dumps(value, ensure_ascii=False)


def print_json(content: object) -> None:
    say(json.dumps(content, indent=2, ensure_ascii=False))


def show(diagnostics: Iterable[Diagnostic]) -> None:
    """Diagnostics on stderr, a blank line between them; in colour on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for diagnostic in diagnostics:
        text = Text(render(diagnostic))
        text.highlight_regex(r"^error\[\w+\]", "bold red")
        text.highlight_regex(r"^warning\[\w+\]", "bold yellow")
        text.highlight_regex(r"(?m)^\s*(help|note):", "bold cyan")
        console.print(text)


warn = show


@contextmanager
def warnings_of() -> Generator[Collector]:
    """A collector whose warnings are told at the end of the block; errors are the caller's."""
    collector = Collector()
    yield collector
    warn(collector.warnings)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout: drawn on a terminal, tab-separated values when it is read by a program."""
    if not sys.stdout.isatty():
        say("\t".join(head))
        for row in rows:
            say("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # as it is: a layer may be called `conv[bold]`
    Console().print(drawn)


def say_pass(told: PassExplanation) -> None:
    """What a pass did to a model, and each near miss."""
    if told.skipped is not None:
        say(f"{told.name} does not run: {told.skipped}")
        return
    rows = [(each.layer, "done", each.what) for each in told.done]
    rows += [(layer, "removed", "") for layer in told.removed]
    rows += [(each.layer, "refused", each.reason) for each in told.refusals]
    if rows:
        table(["layer", told.name, "what, or why not"], rows)
    else:
        say(f"{told.name} finds nothing to do in this model")


def say_values(rows: Sequence[ExplainRow]) -> None:
    """Every value of a resolved policy with its rule."""
    cells = [(row.layer or "", row.type or "", row.field, as_json(row.value), row.rule_text) for row in rows]
    table(["layer", "type", "field", "value", "because of"], cells)


def say_layers(rows: Sequence[LayerRow]) -> None:
    """Every layer in short."""
    from amctc.policy.explained_layers import LAYER_HEAD

    table(LAYER_HEAD, [row.cells for row in rows])


def say_story(found: Explanation) -> None:
    """The values of one layer with their rules, and then the rules that lost."""
    if found.rows:
        say_values(found.rows)
    for row in found.layers:
        for line in row.story:
            say(line)


def say_files(result: CompileResult) -> None:
    """What a compilation did, in a few lines."""
    layers = [node for node in result.graph.nodes if node.quant is not None]
    weighted = sum(node.quant is not None and node.quant.weight is not None for node in layers)
    if result.kv_cache:
        say(f"calibrated {counted(len(result.kv_cache), 'output')} for a KV cache")
    else:
        say(f"quantized {len(layers)} {'layer' if len(layers) == 1 else 'layers'}, {weighted} of them with weights")
    for path in result.files:
        say(f"  {path}")


def say_reports(reports: Sequence[FileReport]) -> None:
    """What was found in each file: diagnostics on stderr, and a line on stdout for each file without errors."""
    for report in reports:
        show(report.diagnostics)
        if not report.errors:
            but = f", {counted(report.warnings, 'warning')}" if report.warnings else ""
            say(f"{report.file}: ok{but}")
    errors = sum(report.errors for report in reports)
    if errors:
        code = next(found.code for report in reports for found in report.diagnostics if found.level is Level.ERROR)
        told = [counted(errors, "error")]
        warnings = sum(report.warnings for report in reports)
        if warnings:
            told.append(counted(warnings, "warning"))
        sys.stderr.write(f"{', '.join(told)}; `amctc check --code {code}` tells about a code\n")


def counted(number: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def progress() -> Progress:
    """A bar on a terminal, plain lines otherwise."""
    if sys.stderr.isatty():
        return Bar()
    return Lines()


class Lines:
    """Plain lines on stderr: one when a long task begins, one for each tenth of it."""

    def __init__(self) -> None:
        self._task = ""
        self._total: int | None = None
        self._told = 0

    def begin(self, task: str, total: int | None = None) -> None:
        self._task, self._total, self._told = task, total, 0
        if total is not None:
            sys.stderr.write(f"amctc: {task}: 0/{total}\n")

    def step(self, done: int) -> None:
        if self._total and done * 10 // self._total > self._told:
            self._told = done * 10 // self._total
            sys.stderr.write(f"amctc: {self._task}: {done}/{self._total}\n")

    def end(self) -> None:
        return None


class Bar:
    """A bar on stderr that goes away when the work is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._running = False

    def begin(self, task: str, total: int | None = None) -> None:
        if not self._running:
            self._progress.start()
            self._running = True
        self._progress.reset(self._task, total=total, completed=0, description=task)

    def step(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def end(self) -> None:
        self._progress.stop()
        self._running = False
