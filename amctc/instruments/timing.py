"""How long each pass took, and what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amctc.instruments.writing import Write, to_stderr
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass

TIMING_HEAD = ("#", "pass", "ms", "share", "changed", "nodes", "counts")
"""The columns of the table, as `TimingRow.cells` fills them."""


@dataclass(frozen=True)
class TimingRow:
    """One run of one pass. `share` is the part, 0 … 1, of the time that all passes took together."""

    number: int
    name: str
    ms: float
    share: float
    changed: bool
    before: int
    after: int
    counts: Mapping[str, int]
    skipped: str | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, under `TIMING_HEAD`."""
        if self.skipped is not None:
            return (str(self.number), self.name, "-", "-", "skipped", str(self.before), self.skipped)
        nodes = str(self.before) if self.before == self.after else f"{self.before} -> {self.after}"
        counts = ", ".join(f"{word} {count}" for word, count in self.counts.items())
        changed = "yes" if self.changed else "no"
        return (str(self.number), self.name, f"{self.ms:.1f}", f"{self.share:.0%}", changed, nodes, counts)


class Timing(Instrument):
    """Collects the runs and writes the table at the end, or when a pass has failed. `write` None writes nothing."""

    def __init__(self, write: Write | None = to_stderr) -> None:
        self.runs: list[PassRun] = []
        self._write = write

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        self.runs.append(run)

    def failed(self, step: Pass, number: int, graph: Graph, failure: Exception) -> None:
        self._show()

    def end(self, graph: Graph, context: Context) -> None:
        self._show()

    def _show(self) -> None:
        if self._write is not None:
            self._write(timing_table(self.runs))


def timing_rows(runs: Sequence[PassRun]) -> tuple[TimingRow, ...]:
    """One row for each run, in their order."""
    whole = sum(run.seconds for run in runs) or 1.0
    return tuple(
        TimingRow(
            run.number,
            run.name,
            run.seconds * 1000,
            run.seconds / whole,
            run.changed,
            *run.nodes,
            dict(run.counts),
            run.skipped,
        )
        for run in runs
    )


def timing_table(runs: Sequence[PassRun]) -> str:
    """The table as text in columns, with the sum of the times under it."""
    rows = [TIMING_HEAD, *(row.cells for row in timing_rows(runs))]
    rows.append(("", "all passes", f"{sum(run.seconds for run in runs) * 1000:.1f}", "", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(TIMING_HEAD))]
    return "".join(f"{_line(row, widths)}\n" for row in rows)


def timing_to_json(runs: Sequence[PassRun]) -> dict[str, object]:
    """The table as plain data."""
    rows = [
        {
            "number": row.number,
            "pass": row.name,
            "ms": round(row.ms, 3),
            "share": round(row.share, 4),
            "changed": row.changed,
            "nodes_before": row.before,
            "nodes_after": row.after,
            "counts": dict(row.counts),
            "skipped": row.skipped,
        }
        for row in timing_rows(runs)
    ]
    return {"version": 1, "passes": rows}


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = {0, 2, 3}
    padded = (
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
